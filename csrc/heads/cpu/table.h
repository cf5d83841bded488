// What an instruction set provides to the solvers: one table of functions for float, one for double.
#pragma once
#include <cstdint>

namespace tlplat {

// Rows of a tile are padded to this many lanes, the widest vector's.
constexpr int kLanes = 16;

// One tile of rows in structure-of-arrays form. Lanes beyond `rows` have weight 0.
template <class T>
struct Tile {
  int rows;                 // rows in use
  int stride;               // lanes, a multiple of kLanes
  const T* const* row;      // row pointers, padded to a multiple of 4 with the last row
  const T* const* tail;     // the last d % width elements of each row, zero-padded to kLanes
  const int32_t* label;     // (stride,); null: softmax leaves a * probabilities
  const T* a;               // (stride,)
  const char* const* next;  // (next_rows,) the rows of the tile to come, fetched into the cache meanwhile
  int next_rows;
  int64_t next_bytes;       // of a row
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
  // w, velocity after a step of SGD on gradient g * scale + decay * w; returns |w|^2 from before.
  double (*sgd)(T* w, T* velocity, const T* g, T scale, T decay, T momentum, T rate, int64_t n);
  // w, first, second after a step of AdamW; rates are corrected for bias by the caller; returns |w|^2 from before.
  double (*adamw)(T* w, T* first, T* second, const T* g, T scale, T shrink, T beta1, T beta2, T rate, T root, T eps, int64_t n);
  void (*widen_bf16)(const uint16_t* x, T* y, int64_t n);
};

enum Isa : int32_t { kGeneric = 0, kAvx2 = 1, kAvx512 = 2 };

template <class T>
const Kernels<T>& kernels(int32_t isa);  // the table of an instruction set that this build and this CPU have

int32_t best_isa();                      // what the CPU offers, lowered by ATEN_CPU_CAPABILITY (default, avx2, avx512)

}  // namespace tlplat
