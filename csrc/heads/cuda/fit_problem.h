// A fit of softmax heads on a device, as plain pointers: what tlplat/ops/cuda_fit.py hands over. No torch, no CUDA here.
#pragma once
#include "../problem.h"

// Mirrored field by field by tlplat/ops/cuda_fit.py. "T" is `compute`: float or double.
struct TlplatCudaFit {
  // On the device.
  const void* z;             // (n, d) of z_dtype, rows z_stride elements apart, unit stride inside a row
  const int64_t* y;          // (n,) in [0, classes), or ignore_index
  const void* class_weight;  // (classes,) T, or null
  const void* row_weight;    // (heads, n) or (1, n) T, or null for ones
  const void* held_weight;   // the same for held-out rows, or null for none
  void* weight;              // (heads, classes, d) T: start, then result
  void* bias;                // (heads, classes) T: start, then result
  // On the host.
  const double* decay;       // (heads,)
  const double* rate;        // (heads,) of sgd and adamw
  const int64_t* seed;       // (heads,) ascending: heads of one seed are neighbours
  double* loss;              // (heads,) result
  double* held_loss;         // (heads,) result; NaN without held-out rows
  uint8_t* converged;        // (heads,)
  int64_t* iterations;       // (heads,)
  int64_t n, d, z_stride, classes, heads;
  int64_t row_weight_stride;   // 0 where all heads share one row of weights
  int64_t held_weight_stride;
  int64_t max_iter, batch_size, patience, ignore_index;
  double smoothing, tol, momentum, beta1, beta2, eps;
  int32_t z_dtype, compute, solver, cosine;
};
