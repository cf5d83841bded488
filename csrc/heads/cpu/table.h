// What an instruction set provides to the solvers: one table of functions for float, one for double.
#pragma once
#include <cstdint>

namespace tlplat {

// Rows of a tile are padded to this many lanes, the widest vector's.
constexpr int kLanes = 16;

// The rows of the tile that comes after this one, fetched into the cache while this one is at work.
struct Ahead {
  const char* const* row;
  int64_t rows, bytes;
  int side_by_side;  // lines fetched together: 1, or 2 where few classes leave little time
  bool twice;        // forward does half of it and backward the rest
  int64_t at, part;
};

// One tile of rows in structure-of-arrays form. Lanes beyond `rows` have weight 0.
template <class T>
struct Tile {
  int rows;                 // rows in use
  int stride;               // lanes, a multiple of kLanes
  const T* const* row;      // row pointers, padded to a multiple of 4 with the last row
  const int32_t* label;     // (stride,); null: softmax leaves a * probabilities
  const T* a;               // (stride,)
  Ahead* ahead;
};

template <class T>
struct Kernels {
  int width;  // elements a vector
  // logits[m * stride + r] = dot(row r, w + m * ldw) + bias[m] for m < count
  void (*forward)(const Tile<T>&, int64_t d, const T* w, int64_t ldw, const T* bias, int64_t count, T* logits);
  // g[m * ldw ...] += sum_r delta[m * stride + r] * row r
  void (*backward)(const Tile<T>&, int64_t d, const T* delta, int64_t count, T* g, int64_t ldw);
  // One head: logits (classes, stride) become the gradient of the weighted losses; returns their sum. `weight` (stride,).
  // Without `delta` the logits are left as they are. `row_loss` (stride,) takes the unweighted losses where not null.
  double (*softmax)(const Tile<T>&, int64_t classes, T* logits, const T* weight, const T* smooth, bool delta, T* row_loss);
  double (*total)(const T* x, int64_t n);
  double (*dot)(const T* x, const T* y, int64_t n);
  void (*axpy)(T alpha, const T* x, T* y, int64_t n);                    // y += alpha x
  void (*blend)(T alpha, const T* x, T beta, const T* y, T* z, int64_t n);  // z = alpha x + beta y
  void (*squares)(T alpha, const T* x, T* y, int64_t n);                 // y += alpha x x
  // Of H = kappa (diag q - q q^T) s_j + decay between the classes of every column j: out = H^-1 x, where kappa, q, s are positive,
  // and x^T (diag q - q q^T) s x. A shift of all classes has no curvature but decay; out is bounded there.
  void (*solve)(const T* x, T* out, int64_t ldw, int64_t classes, const T* spectrum, const T* q, T kappa, T decay);
  double (*quadratic)(const T* x, int64_t ldw, int64_t classes, const T* spectrum, const T* q);
  // w, velocity after a step of SGD on gradient g * scale + decay * w; returns |w|^2 from before.
  double (*sgd)(T* w, T* velocity, const T* g, T scale, T decay, T momentum, T rate, int64_t n);
  // w, first, second after a step of AdamW; rates are corrected for bias by the caller; returns |w|^2 from before.
  double (*adamw)(T* w, T* first, T* second, const T* g, T scale, T shrink, T beta1, T beta2, T rate, T root, T eps, int64_t n);
  void (*widen_bf16)(const uint16_t* x, T* y, int64_t n);
};

enum Isa : int32_t { kGeneric = 0, kAvx2 = 1, kAvx512 = 2 };

// bf16 rows times bf16 weights and row gradients, sums in float: what minibatch steps over bf16 features take.
struct MixedKernels {
  void (*narrow)(const float* x, uint16_t* y, int64_t n);
  void (*forward)(const Tile<uint16_t>&, int64_t d, const uint16_t* w, int64_t ldw, const float* bias, int64_t count, float* logits);
  // Rows are read two at a time: with an odd number, the row after the last must be readable and its delta zero.
  void (*backward)(const Tile<uint16_t>&, int64_t d, const uint16_t* delta, int64_t count, float* g, int64_t ldw);
};

const MixedKernels* mixed_kernels(int32_t isa);  // null without AVX-512 BF16

// Float rows in panels, for many classes.
struct WideKernels {
  // Rows in panels of 64, the last of 32 where that suffices: (d, 64). `row` is padded to a multiple of 32.
  void (*lay)(const float* const* row, int rows, int64_t d, float* panel);
  // logits[m * stride + r] of at least kWideColumns classes, up to the panels' last row; fetches the rows of `ahead`.
  void (*forward)(const float* panel, int rows, int64_t d, const float* w, int64_t ldw, const float* bias, int64_t count,
                  float* logits, int stride, const Ahead& ahead);
};
constexpr int64_t kWideColumns = 20;

const WideKernels* wide_kernels(int32_t isa);  // null without AVX-512

template <class T>
const Kernels<T>& kernels(int32_t isa);  // the table of an instruction set that this build and this CPU have

int32_t best_isa();                      // what the CPU offers, lowered by ATEN_CPU_CAPABILITY (default, avx2, avx512)

}  // namespace tlplat
