// A softmax-head problem as plain pointers: what Python hands over, and what every backend reads. No torch here.
#pragma once
#include <cstdint>

enum TlplatDtype : int32_t { TLPLAT_F32 = 0, TLPLAT_F64 = 1, TLPLAT_BF16 = 2, TLPLAT_F16 = 3 };
enum TlplatSolver : int32_t { TLPLAT_LBFGS = 0, TLPLAT_SGD = 1, TLPLAT_ADAMW = 2 };

// Mirrored field by field by tlplat/ops/native_fit.py. "T" is `compute`: float or double.
struct TlplatHeadProblem {
  const void* z;             // (n, d) of z_dtype, rows z_stride elements apart, unit stride inside a row
  const int32_t* label;      // (n,) in [0, classes), or negative for a row that counts nothing
  const void* own;           // (classes,) T: weight of the label's own term, by the label, or null for ones
  const void* mass;          // (classes,) T: what a row adds to the denominator of a mean, by its label, or null for ones
  const void* smooth;        // (classes,) T: smoothing term of every class, or null
  const void* row_weight;    // (heads, n) or (1, n) T, or null for ones
  const void* held_weight;   // the same for held-out rows, or null for none
  const double* decay;       // (heads,)
  const double* rate;        // (heads,) of sgd and adamw
  const int64_t* seed;       // (heads,)
  const double* centre;      // (d,) of lbfgs: mean and mean square of the centred features along the axes; null: along
  const double* spectrum;    // the features as they are, and taken from them
  const void* axes;          // (2, d, d) T: orthonormal rows, then their transpose, or null
  const int32_t* path;       // (heads,) of lbfgs: heads of one number differ in decay alone; null where each stands alone
  void* weight;              // (heads, classes, d) T: start, then result
  void* bias;                // (heads, classes) T: start, then result
  double* loss;              // (heads,) result
  double* held_loss;         // (heads,) result; NaN without held-out rows
  uint8_t* converged;        // (heads,)
  int64_t* iterations;       // (heads,)
  int64_t n, d, z_stride, classes, heads;
  int64_t row_weight_stride;   // 0 where all heads share one row of weights
  int64_t held_weight_stride;
  int64_t max_iter, batch_size, patience;
  double tol, momentum, beta1, beta2, eps;
  int32_t z_dtype, compute, solver, cosine, threads, isa, from_zero;  // from_zero: weight and bias are zeros
};
