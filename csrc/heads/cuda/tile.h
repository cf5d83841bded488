// A kSize x kSize tile of a matrix product, kept by kThreads threads, from operands in shared memory. Two implementations of
// one interface: TensorTile on the tensor cores (sm_80 and later), ScalarTile with plain multiply-adds for float and double.
//
// An operand is kSize x kDepth elements; element (m, k) lies at m * SM + k * SK.
#pragma once
#include "../../simt/device.h"

namespace tlplat {
namespace gpu {

constexpr int kDepth = 16;

template <class T>
struct ScalarTile {
  using Value = T;
  static constexpr int kSize = 64, kThreads = 128;
  T acc[8][4] = {};

  // `exact_a`, `exact_b`: the operand has no more bits than TF32.
  template <int SM, int SK>
  TLPLAT_DEVICE void multiply(const T* a, const T* b, bool, bool) {
    const int m = tid() / 16 * 8, n = tid() % 16 * 4;
    for (int k = 0; k < kDepth; ++k) {
      T x[8], y[4];
      TLPLAT_UNROLL
      for (int i = 0; i < 8; ++i) x[i] = a[(m + i) * SM + k * SK];
      TLPLAT_UNROLL
      for (int j = 0; j < 4; ++j) y[j] = b[(n + j) * SM + k * SK];
      TLPLAT_UNROLL
      for (int i = 0; i < 8; ++i)
        TLPLAT_UNROLL
        for (int j = 0; j < 4; ++j) acc[i][j] += x[i] * y[j];
    }
  }

  // Calls f(m, n, value) for every element that this thread holds.
  template <class F>
  TLPLAT_DEVICE void each(F f) const {
    const int m = tid() / 16 * 8, n = tid() % 16 * 4;
    TLPLAT_UNROLL
    for (int i = 0; i < 8; ++i)
      TLPLAT_UNROLL
      for (int j = 0; j < 4; ++j) f(m + i, n + j, acc[i][j]);
  }
};

// The nearest number with TF32's 10 bits of mantissa (PTX cvt.rna.tf32.f32), as a float.
TLPLAT_DEVICE float to_tf32(float x) {
#if defined(__CUDA_ARCH__)
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000u) != 0x7f800000u) bits += 0x1000u;
  bits &= ~0x1fffu;
  __builtin_memcpy(&x, &bits, 4);
  return x;
#endif
}

// x = high + low, where high has TF32's bits; the tensor cores cut off what they do not take of low.
TLPLAT_DEVICE void split(float x, float& high, float& low) { high = to_tf32(x), low = x - high; }

struct FragmentA {
  float v[4];
};
struct FragmentB {
  float v[2];
};
struct FragmentC {
  float v[4];
};

// c += a b for one warp: mma.sync.m16n8k8 with TF32 operands. With g = lane / 4 and t = lane % 4 a lane holds
// a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b: (k = t, n = g), (t + 4, g); c: (g, 2t), (g, 2t + 1), (g + 8, ...).
TLPLAT_DEVICE void mma(FragmentC& c, const FragmentA& a, const FragmentB& b) {
#if defined(__CUDA_ARCH__)
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
      : "r"(__float_as_uint(a.v[0])), "r"(__float_as_uint(a.v[1])), "r"(__float_as_uint(a.v[2])), "r"(__float_as_uint(a.v[3])),
        "r"(__float_as_uint(b.v[0])), "r"(__float_as_uint(b.v[1])));
#elif !defined(__CUDACC__)
  struct Both {
    float a[4], b[2];
  };
  Both own;
  for (int i = 0; i < 4; ++i) own.a[i] = a.v[i];
  for (int i = 0; i < 2; ++i) own.b[i] = b.v[i];
  const auto lanes = simt::exchange(own);
  const int g = tid() % 32 / 4, t = tid() % 4;
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 8; ++k) {
      const float x = lanes[g * 4 + k % 4].a[(i / 2) + (k / 4) * 2], y = lanes[(2 * t + i % 2) * 4 + k % 4].b[k / 4];
      c.v[i] += to_tf32(x) * to_tf32(y);
    }
#endif
}

// Float products to nearly float accuracy: each operand is split into two TF32 numbers, and the three larger of the four
// products are added up (3xTF32; Markidis et al. 2018, Ootomo and Yokota 2022).
// The tensor cores' own sum is cut off, not rounded, so that a step's is added up here.
struct TensorTile {
  using Value = float;
  static constexpr int kSize = 128, kThreads = 512;
  FragmentC acc[2][4] = {};

  static TLPLAT_DEVICE int first_m() { return tid() / 128 * 32; }
  static TLPLAT_DEVICE int first_n() { return tid() / 32 % 4 * 32; }

  template <int SM, int SK>
  TLPLAT_DEVICE void multiply(const float* a, const float* b, bool exact_a, bool exact_b) {
    const int g = tid() % 32 / 4, t = tid() % 4;
    const float *x = a + (first_m() + g) * SM + t * SK, *y = b + (first_n() + g) * SM + t * SK;
    FragmentA high[2][2], low[2][2];
    TLPLAT_UNROLL
    for (int i = 0; i < 2; ++i)
      TLPLAT_UNROLL
      for (int k = 0; k < 2; ++k)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e)
          split(x[(i * 16 + e % 2 * 8) * SM + (8 * k + e / 2 * 4) * SK], high[i][k].v[e], low[i][k].v[e]);
    TLPLAT_UNROLL
    for (int j = 0; j < 4; ++j) {
      FragmentB top[2], rest[2];
      TLPLAT_UNROLL
      for (int k = 0; k < 2; ++k)
        TLPLAT_UNROLL
        for (int e = 0; e < 2; ++e) split(y[j * 8 * SM + (8 * k + 4 * e) * SK], top[k].v[e], rest[k].v[e]);
      TLPLAT_UNROLL
      for (int i = 0; i < 2; ++i) {
        FragmentC c = {};
        TLPLAT_UNROLL
        for (int k = 0; k < 2; ++k) {
          if (!exact_a) mma(c, low[i][k], top[k]);
          if (!exact_b) mma(c, high[i][k], rest[k]);
          mma(c, high[i][k], top[k]);
        }
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) acc[i][j].v[e] += c.v[e];
      }
    }
  }

  template <class F>
  TLPLAT_DEVICE void each(F f) const {
    const int g = tid() % 32 / 4, t = tid() % 4;
    TLPLAT_UNROLL
    for (int i = 0; i < 2; ++i)
      TLPLAT_UNROLL
      for (int j = 0; j < 4; ++j)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e)
          f(first_m() + i * 16 + g + e / 2 * 8, first_n() + j * 8 + 2 * t + e % 2, acc[i][j].v[e]);
  }
};

}  // namespace gpu
}  // namespace tlplat
