// Many classes at once on AVX-512, float: rows are laid out in panels, vectors along rows, so that a product holds 6
// classes x 64 rows in registers, adds nothing up across lanes, and leaves logits where softmax reads them.
#include "table.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif

namespace tlplat {
namespace avx512 {
namespace {

inline int panel_width(int rows) { return rows > 32 ? 64 : 32; }

// One stage of a transposition: v[i] takes the lanes of v[i + S] where bit S of the lane is set, and the other way round.
template <int S>
inline void exchange(__m512 v[16]) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __mmask16 odd = S == 1 ? 0xAAAA : S == 2 ? 0xCCCC : S == 4 ? 0xF0F0 : 0xFF00;
  const __m512i low = _mm512_mask_add_epi32(lane, odd, lane, _mm512_set1_epi32(16 - S));
  const __m512i high = _mm512_mask_add_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(S)), odd, lane, _mm512_set1_epi32(16));
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    if (i & S) continue;
    const __m512 a = v[i], b = v[i + S];
    v[i] = _mm512_permutex2var_ps(a, low, b), v[i + S] = _mm512_permutex2var_ps(a, high, b);
  }
}

void lay(const float* const* row, int rows, int64_t d, float* panel) {
  for (int p = 0; p < rows; p += 64, panel += 64 * d) {
    const int width = panel_width(rows - p);
    for (int g = 0; g < width; g += 16)
      for (int64_t k = 0; k < d; k += 16) {
        const int left = int(d - k < 16 ? d - k : 16);
        const __mmask16 keep = __mmask16((1u << left) - 1);
        __m512 v[16];
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r) v[r] = _mm512_maskz_loadu_ps(keep, row[p + g + r] + k);
        exchange<1>(v), exchange<2>(v), exchange<4>(v), exchange<8>(v);
#pragma GCC unroll 16
        for (int r = 0; r < 16; ++r)
          if (r < left) _mm512_storeu_ps(panel + (k + r) * width + g, v[r]);
      }
  }
}

// NC classes by NV vectors of rows; meanwhile `count` rows of the next tile are fetched, a line of each every 16 steps.
template <int NC, int NV>
inline void block(
    const float* w, int64_t ldw, const float* bias, const float* panel, int64_t d, float* out, int stride,
    const char* const* next, int count, int64_t bytes) {
  __m512 acc[NC][NV];
#pragma GCC unroll 6
  for (int c = 0; c < NC; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[c][v] = _mm512_set1_ps(bias[c]);
  for (int64_t k = 0; k < d; k += 16) {
    const int64_t line = k * 4 < bytes ? k * 4 : 0, end = d - k < 16 ? d : k + 16;
    for (int i = 0; i < count; ++i) __builtin_prefetch(next[i] + line);
    for (int64_t i = k; i < end; ++i, panel += 16 * NV) {
      __m512 z[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) z[v] = _mm512_loadu_ps(panel + 16 * v);
#pragma GCC unroll 6
      for (int c = 0; c < NC; ++c) {
        const __m512 x = _mm512_set1_ps(w[c * ldw + i]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[c][v] = _mm512_fmadd_ps(x, z[v], acc[c][v]);
      }
    }
  }
#pragma GCC unroll 6
  for (int c = 0; c < NC; ++c)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) _mm512_storeu_ps(out + c * stride + 16 * v, acc[c][v]);
}

void forward(
    const float* panel, int rows, int64_t d, const float* w, int64_t ldw, const float* bias, int64_t count, float* logits,
    int stride, const Ahead& ahead) {
  const int64_t blocks = (count + 5) / 6 * ((rows + 63) / 64);
  int64_t block_index = 0, take = 0;
  for (int64_t m = 0; m < count; m += take) {
    const int64_t left = (count - m + 5) / 6;
    take = (count - m + left - 1) / left;
    for (int p = 0; p < rows; p += 64, ++block_index) {
      const int64_t from = ahead.rows * block_index / blocks, to = ahead.rows * (block_index + 1) / blocks;
      const bool full = panel_width(rows - p) == 64;
      const auto product = take == 6 ? (full ? block<6, 4> : block<6, 2>) : (full ? block<5, 4> : block<5, 2>);
      product(w + m * ldw, ldw, bias + m, panel + p * d, d, logits + m * stride + p, stride, ahead.row + from,
              int(to - from), ahead.bytes);
    }
  }
}

}  // namespace

extern const WideKernels wide;
const WideKernels wide = {lay, forward};

}  // namespace avx512
}  // namespace tlplat

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
