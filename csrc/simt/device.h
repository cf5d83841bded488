// The few words that a kernel's body uses: CUDA's under nvcc, else those of the SIMT shim, so that one body is compiled for
// the GPU and run on the CPU by tests.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#define TLPLAT_DEVICE __device__ __forceinline__
#define TLPLAT_BOTH __host__ __device__ __forceinline__
#define TLPLAT_UNROLL _Pragma("unroll")
#define TLPLAT_UNROLL_2 _Pragma("unroll 2")
#define TLPLAT_UNROLL_4 _Pragma("unroll 4")
// A barrier has a name, by which tests take it away.
#define TLPLAT_SYNC(name) __syncthreads()
#define TLPLAT_SYNC_WARP(name) __syncwarp()

namespace tlplat {
TLPLAT_DEVICE int tid() { return int(threadIdx.x); }
TLPLAT_DEVICE int threads() { return int(blockDim.x); }
TLPLAT_DEVICE int block_x() { return int(blockIdx.x); }
TLPLAT_DEVICE int block_y() { return int(blockIdx.y); }
TLPLAT_DEVICE int block_z() { return int(blockIdx.z); }
TLPLAT_DEVICE int blocks_x() { return int(gridDim.x); }
template <class T>
TLPLAT_DEVICE T shfl_xor(T v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
template <class T>
TLPLAT_DEVICE T shfl(T v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
TLPLAT_DEVICE uint32_t ballot(bool v) { return __ballot_sync(0xffffffffu, v); }
TLPLAT_DEVICE int popcount(uint32_t v) { return __popc(v); }
// Copies Bytes to shared memory while the thread goes on: the first `valid` of them, zeros for the others. Copies belong to
// groups, in order; a wait leaves the last N groups on their way, and a barrier must follow before others read.
template <int Bytes>
TLPLAT_DEVICE void copy_async(void* to, const void* from, int valid) {
  const uint32_t at = uint32_t(__cvta_generic_to_shared(to));
  if constexpr (Bytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(valid) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(Bytes), "r"(valid) : "memory");
}
TLPLAT_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
TLPLAT_DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
// In a kernel that may begin before the one ahead of it has ended (Start::kEarly): waits for that end. What the one ahead
// writes may be read, and what it reads may be written, only after.
TLPLAT_DEVICE void after_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Lets the next kernel begin, once all blocks said so or ended.
TLPLAT_DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
TLPLAT_DEVICE float exp_of(float x) { return expf(x); }
TLPLAT_DEVICE double exp_of(double x) { return exp(x); }
TLPLAT_DEVICE float log_of(float x) { return logf(x); }
TLPLAT_DEVICE double log_of(double x) { return log(x); }
TLPLAT_DEVICE float sqrt_of(float x) { return sqrtf(x); }
TLPLAT_DEVICE double sqrt_of(double x) { return sqrt(x); }
}  // namespace tlplat

#else
#include <cmath>
#include <cstring>

#include "simt.h"

#define TLPLAT_DEVICE inline
#define TLPLAT_BOTH inline
#define TLPLAT_UNROLL
#define TLPLAT_UNROLL_2
#define TLPLAT_UNROLL_4
#define TLPLAT_SYNC(name)                             \
  do {                                                \
    static const int id_ = simt::barrier_id(#name);   \
    simt::sync_threads(id_);                          \
  } while (0)
#define TLPLAT_SYNC_WARP(name)                        \
  do {                                                \
    static const int id_ = simt::barrier_id(#name);   \
    simt::sync_warp(id_);                             \
  } while (0)

namespace tlplat {
inline int tid() { return simt::thread_index(); }
inline int threads() { return simt::block_threads(); }
inline int block_x() { return simt::block_index().x; }
inline int block_y() { return simt::block_index().y; }
inline int block_z() { return simt::block_index().z; }
inline int blocks_x() { return simt::grid_size().x; }
template <class T>
T shfl_xor(T v, int mask) { return simt::exchange(v)[(tid() % simt::kWarp) ^ mask]; }
template <class T>
T shfl(T v, int lane) { return simt::exchange(v)[lane]; }
inline uint32_t ballot(bool v) {
  const auto lanes = simt::exchange(v);
  uint32_t mask = 0;
  for (int i = 0; i < simt::kWarp; ++i) mask |= uint32_t(lanes[i]) << i;
  return mask;
}
inline int popcount(uint32_t v) { return __builtin_popcount(v); }
// At once: that a wait is missing, only racecheck on a GPU can tell.
template <int Bytes>
void copy_async(void* to, const void* from, int valid) {
  std::memset(to, 0, Bytes);
  if (valid > 0) std::memcpy(to, from, size_t(valid));
}
inline void copy_async_commit() {}
template <int N>
void copy_async_wait() {}
// Launches follow each other here: that a wait is missing, only a GPU can tell.
inline void after_previous() {}
inline void let_next_begin() {}
inline float exp_of(float x) { return std::exp(x); }
inline double exp_of(double x) { return std::exp(x); }
inline float log_of(float x) { return std::log(x); }
inline double log_of(double x) { return std::log(x); }
inline float sqrt_of(float x) { return std::sqrt(x); }
inline double sqrt_of(double x) { return std::sqrt(x); }
}  // namespace tlplat
#endif
