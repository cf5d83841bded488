// What an instruction set provides to the frozen block: tables of functions that dispatch.cpp chooses from.
#pragma once
#include <cstdint>

#include "extract/problem.h"
#include "heads/cpu/table.h"

namespace tlplat::extract {

// Rows that a product takes at once: chunks are padded to a multiple.
constexpr int kTileRows = 6;
// Vectors side by side in a panel of packed weights, at most.
constexpr int kMaxVectors = 4;

// out (6, lanes) = or += a (6 rows, lda steps apart) times a panel b (steps, lanes). A step is what one multiply-add takes
// of a row: one element, or a pair of bf16, or four int8.
using Product = void (*)(const void* a, int64_t lda, const void* b, int64_t steps, void* out, int64_t ldo, bool add);

// The products of one arithmetic: how rows and weights are laid out for it.
struct Tiles {
  int lanes;    // outputs a vector holds
  int vectors;  // of a full panel; the last one may be narrower
  int step;     // elements of a step
  int bytes;    // of a step
  Product product[kMaxVectors];  // by the panel's vectors, less one
};

template <class T>
struct BlockKernels {
  Tiles tiles;
  // `width` numbers, whole vectors, of rows of z that are ld apart: activation(z + bias).
  void (*activate)(T* z, int64_t rows, int64_t width, int64_t ld, const T* bias, int32_t activation);
  // Layer norm over the first d of each row.
  void (*normalise)(T* z, int64_t rows, int64_t ld, int64_t d, const T* weight, const T* bias, double eps);
  void (*widen)(const void* x, int32_t dtype, int64_t stride, int64_t k, T* out);  // x may have any stride
  void (*narrow)(const T* z, int64_t d, int32_t dtype, void* out);
  // Self-attention of one text: see attention.inc.
  void (*attend)(const T* qkv, int64_t ld, int64_t length, int64_t heads, int64_t d, T* work, T* out, int64_t ldo);
};

// float only: rounded factors.
struct RoundKernels {
  // q = round(x * 127 / max |x|) in [-127, 127]; returns max |x| / 127, NaN where x is not finite.
  float (*quantise)(const float* x, int64_t k, int8_t* q);
  void (*round_bf16)(const float* x, int64_t k, float* out);
  // z[r, j] *= row[r] * column[j] for j < width; `integers`: z holds int32, of which offset[j] is taken first.
  void (*rescale)(
      float* z, int64_t rows, int64_t width, int64_t ld, const float* row, const float* column, const int32_t* offset, bool integers);
};

template <class T>
const BlockKernels<T>& block_kernels(int32_t isa);
const RoundKernels& round_kernels(int32_t isa);

// The widest products of rounded factors here, or null where this CPU has none.
const Tiles* bf16_tiles(int32_t isa);
const Tiles* int8_tiles(int32_t isa);

}  // namespace tlplat::extract
