// AVX-512 BF16: products of bf16 rows with bf16 weights and row gradients, sums in float. Only what minibatch steps need.
#include "table.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")
#endif

namespace tlplat {
namespace avx512bf16 {

#define TLPLAT_VECTOR_BYTES 64
#include "vec.h"

#include "blocks.h"

static inline __m512bh pairs(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }
static inline __m512i some(const uint16_t* p, int n) {
  return n >= 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((1u << n) - 1, p);
}

static void narrow(const float* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 keep = n - i < 16 ? __mmask16((1u << (n - i)) - 1) : __mmask16(0xFFFF);
    const __m256i bits = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(keep, x + i));
    _mm256_mask_storeu_epi16(y + i, keep, bits);
  }
}

// NC classes by four rows in registers, vectors along d.
template <int NC>
static inline void forward_block(
    const uint16_t* const* row, int64_t d, const uint16_t* w, int64_t ldw, const float* bias, float* out, int stride, Fetch fetch) {
  Vec<float> acc[NC][4] = {};
  for (int64_t i = 0; i < d; i += 32) {
    fetch(i / 32);
    const int left = int(d - i < 32 ? d - i : 32);
    __m512bh z[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) z[r] = (__m512bh)(left < 32 ? some(row[r] + i, left) : _mm512_loadu_si512(row[r] + i));
#pragma GCC unroll 6
    for (int c = 0; c < NC; ++c) {
      const __m512bh v = pairs(w + c * ldw + i);
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) acc[c][r] = (Vec<float>)_mm512_dpbf16_ps((__m512)acc[c][r], z[r], v);
    }
  }
#pragma GCC unroll 6
  for (int c = 0; c < NC; ++c) store_sums(out + c * stride, acc[c], bias[c]);
}

template <int NC>
static void forward_classes(
    const Tile<uint16_t>& t, int64_t d, const uint16_t* w, int64_t ldw, const float* bias, float* out, int64_t until) {
  for (int r = 0; r < t.rows; r += 4)
    forward_block<NC>(t.row + r, d, w, ldw, bias, out + r, t.stride, fetch(t.ahead, until, (d + 31) / 32, w));
}

static void forward(
    const Tile<uint16_t>& t, int64_t d, const uint16_t* w, int64_t ldw, const float* bias, int64_t count, float* logits) {
  const int64_t until = t.ahead->twice ? (t.ahead->rows + 1) / 2 : t.ahead->rows;
  int take = 0;
  for (int64_t m = 0; m < count; m += take) {
    take = even_share(count - m);
    const uint16_t* part = w + m * ldw;
    float* out = logits + m * t.stride;
    switch (take) {
      case 1: forward_classes<1>(t, d, part, ldw, bias + m, out, until); break;
      case 2: forward_classes<2>(t, d, part, ldw, bias + m, out, until); break;
      case 3: forward_classes<3>(t, d, part, ldw, bias + m, out, until); break;
      case 4: forward_classes<4>(t, d, part, ldw, bias + m, out, until); break;
      case 5: forward_classes<5>(t, d, part, ldw, bias + m, out, until); break;
      default: forward_classes<6>(t, d, part, ldw, bias + m, out, until);
    }
  }
}

// Two rows at a time: their elements side by side meet the pair of their gradients. Sums come in the order of the
// interleaving, and are sorted when they are added to g.
template <int NC, int NV>
static inline void backward_block(
    const uint16_t* const* row, int64_t offset, int part, int rows, const uint16_t* delta, int stride, float* g, int64_t ldw,
    Fetch fetch) {
  __m512 acc[NC][2 * NV];
#pragma GCC unroll 6
  for (int c = 0; c < NC; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < 2 * NV; ++v) acc[c][v] = _mm512_setzero_ps();
  for (int r = 0; r < rows; r += 2) {
    fetch(r / 2);
    __m512bh z[2 * NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      const __m512i a = some(row[r] + offset + 32 * v, NV == 1 ? part : 32);
      const __m512i b = some(row[r + 1] + offset + 32 * v, NV == 1 ? part : 32);
      z[2 * v] = (__m512bh)_mm512_unpacklo_epi16(a, b), z[2 * v + 1] = (__m512bh)_mm512_unpackhi_epi16(a, b);
    }
#pragma GCC unroll 6
    for (int c = 0; c < NC; ++c) {
      int32_t both;
      __builtin_memcpy(&both, delta + c * stride + r, 4);
      const __m512bh s = (__m512bh)_mm512_set1_epi32(both);
#pragma GCC unroll 4
      for (int v = 0; v < 2 * NV; ++v) acc[c][v] = _mm512_dpbf16_ps(acc[c][v], z[v], s);
    }
  }
  const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
#pragma GCC unroll 6
  for (int c = 0; c < NC; ++c)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      float* to = g + c * ldw + 32 * v;
      const __m512 first = _mm512_permutex2var_ps(acc[c][2 * v], low, acc[c][2 * v + 1]);
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), first));
      if (NV == 1 && part <= 16) continue;
      const __m512 second = _mm512_permutex2var_ps(acc[c][2 * v], high, acc[c][2 * v + 1]);
      _mm512_storeu_ps(to + 16, _mm512_add_ps(_mm512_loadu_ps(to + 16), second));
    }
}

template <int NV>
static void backward_columns(
    const Tile<uint16_t>& t, int64_t i, int part, const uint16_t* delta, int64_t count, float* g, int64_t ldw) {
  int take = 0;
  for (int64_t m = 0; m < count; m += take) {
    take = even_share(count - m);
    const uint16_t* own = delta + m * t.stride;
    float* to = g + m * ldw + i;
    const Fetch ahead = fetch(t.ahead, t.ahead->rows, (t.rows + 1) / 2, to);
    switch (take) {
      case 1: backward_block<1, NV>(t.row, i, part, t.rows, own, t.stride, to, ldw, ahead); break;
      case 2: backward_block<2, NV>(t.row, i, part, t.rows, own, t.stride, to, ldw, ahead); break;
      case 3: backward_block<3, NV>(t.row, i, part, t.rows, own, t.stride, to, ldw, ahead); break;
      case 4: backward_block<4, NV>(t.row, i, part, t.rows, own, t.stride, to, ldw, ahead); break;
      case 5: backward_block<5, NV>(t.row, i, part, t.rows, own, t.stride, to, ldw, ahead); break;
      default: backward_block<6, NV>(t.row, i, part, t.rows, own, t.stride, to, ldw, ahead);
    }
  }
}

static void backward(const Tile<uint16_t>& t, int64_t d, const uint16_t* delta, int64_t count, float* g, int64_t ldw) {
  int64_t i = 0;
  for (; i + 64 <= d; i += 64) backward_columns<2>(t, i, 32, delta, count, g, ldw);
  for (; i < d; i += 32) backward_columns<1>(t, i, int(d - i < 32 ? d - i : 32), delta, count, g, ldw);
}

extern const MixedKernels mixed;
const MixedKernels mixed = {narrow, forward, backward};

}  // namespace avx512bf16
}  // namespace tlplat

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
