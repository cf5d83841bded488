// The rows of a pass: z in its storage type, and what each row counts.
#pragma once
#include "../../simt/device.h"
#include "../problem.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace tlplat {
namespace gpu {


TLPLAT_DEVICE float widen_bf16(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits << 16);
#else
  bits <<= 16;
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
#endif
}

TLPLAT_DEVICE float widen_f16(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
#elif defined(__CUDACC__)
  return float(bits);  // the host pass of nvcc: never run
#else
  const uint16_t low = uint16_t(bits);
  _Float16 h;
  __builtin_memcpy(&h, &low, 2);
  return float(h);
#endif
}

struct alignas(16) Four {
  float v[4];
};
struct alignas(8) FourHalves {
  uint16_t v[4];
};

// `order`, where given, is (groups, n): the rows in an epoch of each group of heads; a pass covers order[begin, end).
template <class T>
struct Rows {
  const void* z;          // (n, d) of z_dtype, rows z_stride elements apart
  int64_t n, d, z_stride;
  int32_t z_dtype;
  int32_t aligned;        // z can be read four elements at once
  const int32_t* order;
  int64_t begin, end;
  const int64_t* y;       // (n,), or null where there are no targets
  int64_t ignore_index;
  const T* class_weight;  // (classes,) or null
  T smoothing;            // the label smoothing
  int32_t classes;
  const T* weight;        // (heads, n) or (1, n), or null
  int64_t weight_stride;
  int32_t plain;          // the held-out loss: no class weights, no smoothing
};

template <class T>
struct Target {
  int32_t label;
  T a, mass, kept;
};

template <class T>
TLPLAT_DEVICE int64_t row_at(const Rows<T>& rows, int group, int64_t at) {
  return rows.order ? rows.order[group * rows.n + at] : at;
}

// The loss of a row is -a log p_label - sum_c smooth_c log p_c; `mass` is its part in the denominator of a mean. A label out
// of range makes the row's loss NaN: callers check labels, this never reads out of bounds.
template <class T>
TLPLAT_DEVICE Target<T> target_of_label(const Rows<T>& rows, int64_t label) {
  if (!rows.y) return {0, T(0), T(0), T(1)};
  if (label == rows.ignore_index) return {0, T(0), T(0), T(0)};
  if (label < 0 || label >= rows.classes) return {0, T(NAN), T(NAN), T(1)};
  const T w = rows.class_weight && !rows.plain ? rows.class_weight[label] : T(1);
  return {int32_t(label), (rows.plain ? T(1) : T(1) - rows.smoothing) * w, w, T(1)};
}

template <class T>
TLPLAT_DEVICE Target<T> target_of(const Rows<T>& rows, int64_t i) {
  return target_of_label(rows, rows.y ? rows.y[i] : 0);
}

template <class T>
TLPLAT_DEVICE T smooth_of(const Rows<T>& rows, int c) {
  if (rows.plain) return T(0);
  return rows.smoothing / T(rows.classes) * (rows.class_weight ? rows.class_weight[c] : T(1));
}

template <class T>
TLPLAT_DEVICE T weight_of(const Rows<T>& rows, int head, int64_t i) {
  return rows.weight ? rows.weight[head * rows.weight_stride + i] : T(1);
}

TLPLAT_DEVICE double element(const void* z, int32_t dtype, int64_t at) {
  switch (dtype) {
    case TLPLAT_F32: return double(static_cast<const float*>(z)[at]);
    case TLPLAT_F64: return static_cast<const double*>(z)[at];
    case TLPLAT_BF16: return double(widen_bf16(static_cast<const uint16_t*>(z)[at]));
    default: return double(widen_f16(static_cast<const uint16_t*>(z)[at]));
  }
}

// Elements j ... j + 3 of row i; zeros from d on.
TLPLAT_DEVICE void load4(const Rows<float>& rows, int64_t i, int64_t j, float* out) {
  const int64_t at = i * rows.z_stride + j;
  if (rows.aligned && j + 4 <= rows.d) {
    if (rows.z_dtype == TLPLAT_F32) {
      const Four four = *reinterpret_cast<const Four*>(static_cast<const float*>(rows.z) + at);
      TLPLAT_UNROLL
      for (int e = 0; e < 4; ++e) out[e] = four.v[e];
      return;
    }
    if (rows.z_dtype != TLPLAT_F64) {
      const FourHalves four = *reinterpret_cast<const FourHalves*>(static_cast<const uint16_t*>(rows.z) + at);
      TLPLAT_UNROLL
      for (int e = 0; e < 4; ++e) out[e] = rows.z_dtype == TLPLAT_BF16 ? widen_bf16(four.v[e]) : widen_f16(four.v[e]);
      return;
    }
  }
  TLPLAT_UNROLL
  for (int e = 0; e < 4; ++e) out[e] = j + e < rows.d ? float(element(rows.z, rows.z_dtype, at + e)) : 0.0f;
}

TLPLAT_DEVICE void load4(const Rows<double>& rows, int64_t i, int64_t j, double* out) {
  TLPLAT_UNROLL
  for (int e = 0; e < 4; ++e) out[e] = j + e < rows.d ? element(rows.z, rows.z_dtype, i * rows.z_stride + j + e) : 0.0;
}

// Whether load4 may read four elements at once.
template <class T>
bool can_read_four(const Rows<T>& rows) {
  const uintptr_t bytes = rows.z_dtype == TLPLAT_F32 ? 16 : 8;
  return rows.z_dtype != TLPLAT_F64 && rows.z_stride % 4 == 0 && reinterpret_cast<uintptr_t>(rows.z) % bytes == 0;
}

}  // namespace gpu
}  // namespace tlplat
