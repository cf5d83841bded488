// A kSize x kSize tile of a matrix product, kept by kThreads threads, from operands in shared memory. Two implementations of
// one interface: TensorTile on the tensor cores (sm_80 and later), ScalarTile with plain multiply-adds for float and double.
//
// An operand is kSize x kDepth elements; element (m, k) lies at m * SM + k * SK.
#pragma once
#include "../../simt/device.h"

namespace tlplat {
namespace gpu {

constexpr int kDepth = 32;

template <class T>
struct ScalarTile {
  using Value = T;
  static constexpr int kSize = 64, kThreads = 128, kPlanes = 1;
  T acc[8][4] = {};

  // Puts four neighbours in place.
  static TLPLAT_DEVICE void store(T* to, int, const T (&from)[4]) {
    TLPLAT_UNROLL
    for (int e = 0; e < 4; ++e) to[e] = from[e];
  }

  template <int SM, int SK>
  TLPLAT_DEVICE void multiply(const T* a, const T* b, int) {
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

TLPLAT_DEVICE uint32_t bits_of(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
#endif
}

TLPLAT_DEVICE float from_bits(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
#endif
}

// x = high + low, where high is rounded to TF32's 10 bits of mantissa. Two integer instructions: PTX's cvt.rna.tf32 becomes six.
// The tensor cores cut off what they do not take of low.
TLPLAT_DEVICE void split(float x, float& high, float& low) { high = from_bits((bits_of(x) + 0x1000u) & ~0x1fffu), low = x - high; }

struct alignas(16) Quad {
  float v[4];
};
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
      : "r"(bits_of(a.v[0])), "r"(bits_of(a.v[1])), "r"(bits_of(a.v[2])), "r"(bits_of(a.v[3])),
        "r"(bits_of(b.v[0])), "r"(bits_of(b.v[1])));
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
      c.v[i] += from_bits(bits_of(x) & ~0x1fffu) * from_bits(bits_of(y) & ~0x1fffu);
    }
#endif
}

// Float products to nearly float accuracy: each operand is split into two TF32 numbers, and the three larger of the four
// products are added up (3xTF32; Markidis et al. 2018, Ootomo and Yokota 2022).
// Operands are split when they are put in place: high parts first, low parts a plane further on. The tensor cores' own sum is
// cut off, not rounded, so that a step's is added up here.
struct TensorTile {
  using Value = float;
  static constexpr int kSize = 128, kThreads = 512, kPlanes = 2, kM = 1024 / kThreads;  // kM: tiles of 16 of a warp
  FragmentC acc[kM][4] = {};

  static TLPLAT_DEVICE int first_m() { return tid() / 128 * 16 * kM; }
  static TLPLAT_DEVICE int first_n() { return tid() / 32 % 4 * 32; }

  static TLPLAT_DEVICE void store(float* to, int plane, const float (&from)[4]) {
    Quad high, low;
    TLPLAT_UNROLL
    for (int e = 0; e < 4; ++e) split(from[e], high.v[e], low.v[e]);
    *reinterpret_cast<Quad*>(to) = high;
    *reinterpret_cast<Quad*>(to + plane) = low;
  }

  template <int SM, int SK>
  TLPLAT_DEVICE void multiply(const float* a, const float* b, int plane) {
    const int g = tid() % 32 / 4, t = tid() % 4;
    const float *x = a + (first_m() + g) * SM + t * SK, *y = b + (first_n() + g) * SM + t * SK;
    FragmentC c[kM][4] = {};
    TLPLAT_UNROLL
    for (int k = 0; k < kDepth; k += 8) {
      FragmentA high[kM], low[kM];
      TLPLAT_UNROLL
      for (int i = 0; i < kM; ++i)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) {
          const float* from = x + (i * 16 + e % 2 * 8) * SM + (k + e / 2 * 4) * SK;
          high[i].v[e] = from[0], low[i].v[e] = from[plane];
        }
      TLPLAT_UNROLL
      for (int j = 0; j < 4; ++j) {
        const float *near = y + j * 8 * SM + k * SK, *far = near + 4 * SK;
        const FragmentB top{{near[0], far[0]}}, rest{{near[plane], far[plane]}};
        TLPLAT_UNROLL
        for (int i = 0; i < kM; ++i) mma(c[i][j], low[i], top);
        TLPLAT_UNROLL
        for (int i = 0; i < kM; ++i) mma(c[i][j], high[i], rest);
        TLPLAT_UNROLL
        for (int i = 0; i < kM; ++i) mma(c[i][j], high[i], top);
      }
    }
    TLPLAT_UNROLL
    for (int i = 0; i < kM; ++i)
      TLPLAT_UNROLL
      for (int j = 0; j < 4; ++j)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) acc[i][j].v[e] += c[i][j].v[e];
  }

  template <class F>
  TLPLAT_DEVICE void each(F f) const {
    const int g = tid() % 32 / 4, t = tid() % 4;
    TLPLAT_UNROLL
    for (int i = 0; i < kM; ++i)
      TLPLAT_UNROLL
      for (int j = 0; j < 4; ++j)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e)
          f(first_m() + i * 16 + g + e / 2 * 8, first_n() + j * 8 + 2 * t + e % 2, acc[i][j].v[e]);
  }
};

}  // namespace gpu
}  // namespace tlplat
