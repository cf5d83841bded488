// Sums in a fixed order: no float atomics, so that results repeat bit by bit.
#pragma once
#include "../../simt/device.h"

namespace tlplat {
namespace gpu {

template <class T>
TLPLAT_DEVICE T warp_sum(T v) {
  TLPLAT_UNROLL
  for (int s = 16; s; s >>= 1) v += shfl_xor(v, s);
  return v;
}

template <int S>
TLPLAT_DEVICE void warp_transpose_step(float* v) {
  if constexpr (S > 0) {
    const bool high = tid() % 32 & S;
    TLPLAT_UNROLL
    for (int i = 0; i < S; ++i) {
      const float keep = high ? v[i + S] : v[i], send = high ? v[i] : v[i + S];
      v[i] = keep + shfl_xor(send, S);
    }
    warp_transpose_step<S / 2>(v);
  }
}

// 32 values a lane; returns to lane l the warp's sum of value l. 31 shuffles for 32 sums.
TLPLAT_DEVICE float warp_transpose_sum(float (&v)[32]) {
  warp_transpose_step<16>(v);
  return v[0];
}

// The sum of table[x * stride] over x < count, the same in every lane of the warp.
TLPLAT_DEVICE double column_total(const double* table, int64_t stride, int count) {
  double sum = 0;
  for (int x = tid() % 32; x < count; x += 32) sum += table[x * stride];
  return warp_sum(sum);
}

// The block's sum of one value a thread, the same in every thread; `scratch` holds 33 doubles.
TLPLAT_DEVICE double block_sum(double v, double* scratch) {
  v = warp_sum(v);
  TLPLAT_SYNC(block_sum_reuse);
  if (tid() % 32 == 0) scratch[tid() / 32] = v;
  TLPLAT_SYNC(block_sum_filled);
  double sum = 0;
  for (int w = 0; w < threads() / 32; ++w) sum += scratch[w];
  return sum;
}

}  // namespace gpu
}  // namespace tlplat
