// A frozen block as plain pointers: z = pool(norm(activation(x P^T + c))). No torch here.
#pragma once
#include "heads/problem.h"

enum TlplatActivation : int32_t {
  TLPLAT_IDENTITY = 0, TLPLAT_RELU = 1, TLPLAT_GELU = 2, TLPLAT_GELU_TANH = 3, TLPLAT_SILU = 4, TLPLAT_TANH = 5
};
// How the factors of the product are rounded; sums, activation, norm and pooling are in the computing type always.
enum TlplatPrecision : int32_t { TLPLAT_FULL = 0, TLPLAT_ROUND_BF16 = 1, TLPLAT_ROUND_INT8 = 2 };

// "T" is the computing type, float or double.
struct TlplatBlock {
  const void* x;            // (n, tokens, k) of x_dtype; strides in elements, any
  const uint8_t* mask;      // (n, tokens) 0 for a token that does not count, or null; contiguous
  const void* weight;       // P, (d, k) T, contiguous
  const void* bias;         // c, (d,) T or null
  const void* norm_weight;  // (d,) T, or null for no layer norm
  const void* norm_bias;    // (d,) T or null
  int64_t n, tokens, k, d, row_stride, token_stride, stride;
  double eps;
  int32_t x_dtype, activation, precision, isa;
  bool pool;                // mean over tokens; without it there is one token a row
};

// A transformer layer over tokens of texts that lie one after another: x + attention, then x + down(up(x)), each followed
// by its layer norm. The blocks have no norm and no pooling of their own.
struct TlplatLayer {
  const void* x;           // (rows, hidden) float, contiguous
  void* out;               // the same
  const int64_t* lengths;  // (texts,) tokens of each; their sum is rows
  int64_t texts, rows, hidden, heads;
  TlplatBlock qkv, mix, up, down;  // hidden -> 3 * hidden, hidden -> hidden, hidden -> inner, inner -> hidden
  const void *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;  // (hidden,) float
  double eps1, eps2;
};
