// Products of rounded factors in the instructions that are there for them: AVX512-BF16 and AVX512-VNNI.
#include "table.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")
#endif

namespace tlplat::extract {
namespace {

// Four bytes of a row times a vector of such: pairs of bf16 added to float, or four uint8 x int8 added to int32.
template <bool kInt8>
inline __m512i multiply_add(__m512i sum, __m512i x, __m512i w) {
  if constexpr (kInt8) return _mm512_dpbusd_epi32(sum, x, w);
  return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)x, (__m512bh)w));
}

template <bool kInt8, int NV>
void product(const void* a_, int64_t lda, const void* b_, int64_t steps, void* out_, int64_t ldo, bool add) {
  const int32_t *a = static_cast<const int32_t*>(a_), *b = static_cast<const int32_t*>(b_);
  int32_t* out = static_cast<int32_t*>(out_);
  __m512i acc[kTileRows][NV];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v)
      acc[r][v] = add ? _mm512_loadu_si512(out + r * ldo + v * 16) : _mm512_setzero_si512();
  for (int64_t k = 0; k < steps; ++k) {
    __m512i w[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) w[v] = _mm512_loadu_si512(b + (k * NV + v) * 16);
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      const __m512i x = _mm512_set1_epi32(a[r * lda + k]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = multiply_add<kInt8>(acc[r][v], x, w[v]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) _mm512_storeu_si512(out + r * ldo + v * 16, acc[r][v]);
}

template <bool kInt8>
constexpr Tiles kTiles = {
    16, 4, kInt8 ? 4 : 2, 4, {product<kInt8, 1>, product<kInt8, 2>, product<kInt8, 3>, product<kInt8, 4>}};

}  // namespace
}  // namespace tlplat::extract

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace tlplat::extract {

const Tiles* bf16_tiles(int32_t isa) {
  return isa == kAvx512 && __builtin_cpu_supports("avx512bf16") ? &kTiles<false> : nullptr;
}
const Tiles* int8_tiles(int32_t isa) {
  return isa == kAvx512 && __builtin_cpu_supports("avx512vnni") ? &kTiles<true> : nullptr;
}

}  // namespace tlplat::extract
#else
namespace tlplat::extract {
const Tiles* bf16_tiles(int32_t) { return nullptr; }
const Tiles* int8_tiles(int32_t) { return nullptr; }
}  // namespace tlplat::extract
#endif
