// One pass over rows: logits, loss, and the gradient of weights and biases of many heads, tile by tile. Neither the
// logits of all rows nor a copy of z is ever held.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "../problem.h"
#include "table.h"

extern "C" {
void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*, const float*, const int*,
            const float*, const int*, const float*, float*, const int*) __attribute__((weak));
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*, const double*, const int*,
            const double*, const int*, const double*, double*, const int*) __attribute__((weak));
int MKL_Set_Num_Threads_Local(int) __attribute__((weak));
}

namespace tlplat {

inline int64_t round_up(int64_t n, int64_t grain) { return (n + grain - 1) / grain * grain; }

// Memory on a cache line's boundary, zeroed.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t n) : n_(n) {
    const size_t bytes = size_t(round_up(std::max<int64_t>(n, 1) * int64_t(sizeof(T)), 64));
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
    std::memset(static_cast<void*>(data_.get()), 0, bytes);
  }
  T* get() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }
  int64_t size() const { return n_; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t n_ = 0;
};

inline void gemm(char ta, char tb, int m, int n, int k, const float* a, int lda, const float* b, int ldb, float* c, int ldc) {
  const float one = 1;
  sgemm_(&ta, &tb, &m, &n, &k, &one, a, &lda, b, &ldb, &one, c, &ldc);
}
inline void gemm(char ta, char tb, int m, int n, int k, const double* a, int lda, const double* b, int ldb, double* c, int ldc) {
  const double one = 1;
  dgemm_(&ta, &tb, &m, &n, &k, &one, a, &lda, b, &ldb, &one, c, &ldc);
}

// Which rows count, and how: `weight` is (heads, n), (1, n) with stride 0, or null for ones.
template <class T>
struct RowWeights {
  const T* weight;
  int64_t stride;
  bool plain;  // the held-out loss: no class weights, no smoothing
};

template <class T>
class alignas(128) Pass {
 public:
  // `columns` is the most heads * classes that a run will see.
  Pass(const TlplatHeadProblem& p, const Kernels<T>& k, int64_t columns);

  int64_t ldw() const { return ldw_; }

  // Rows order[begin, end) (null: begin ... end themselves) for heads head[0 ... heads) whose weights are the blocks of
  // w (heads * classes, ldw) and bias. Adds to loss (heads,), to mass (heads,) where not null, and to g, gb where not null.
  // After these rows, this thread will likely read those from order[next] on. `zero`: w is.
  void run(const int32_t* order, int64_t begin, int64_t end, const RowWeights<T>& rows, const int32_t* head, int64_t heads,
           const T* w, const T* bias, T* g, T* gb, double* loss, double* mass, T* row_loss = nullptr, int64_t next = -1,
           bool zero = false);

  // One head's probabilities of rows [begin, end), to out (end - begin, classes).
  void predict(int64_t begin, int64_t end, const T* w, const T* bias, T* out);

 private:
  void tile(const int32_t* order, int64_t at, int count, const RowWeights<T>& rows, const int32_t* head, int64_t heads,
            const T* w, const T* bias, T* g, T* gb, double* loss, double* mass, T* row_loss);

  // Gathers the tile's rows and fills logits_ (columns, stride_).
  Tile<T> open(const int32_t* order, int64_t at, int count, const T* w, const T* bias, int64_t columns, bool backward, int64_t* ldz);

  void wide_forward(int count, const T* w, const T* bias, int64_t columns);

  Tile<uint16_t> mixed_tile(int count);

  void mixed_forward(int count, const T* bias, int64_t columns);

  void mixed_backward(int count, int64_t columns, T* g);

  void weigh(const RowWeights<T>& rows, int32_t head, int count);

  // Sets the tile's row pointers; for gemm, and for another storage type, the rows are copied to a panel.
  const T* gather(const int32_t* order, int count, int64_t* ldz);

  // Notes the rows of the tile that comes after this one.
  int look_ahead(const int32_t* order, int64_t at);

  int64_t element_bytes() const { return p_.z_dtype == TLPLAT_F64 ? 8 : p_.z_dtype == TLPLAT_F32 ? 4 : 2; }

  void widen(int64_t i, T* to);

  const TlplatHeadProblem& p_;
  const Kernels<T>& k_;
  const MixedKernels* mixed_ = nullptr;  // minibatch steps over bf16 features, where the CPU multiplies bf16
  const WideKernels* wide_ = nullptr;    // many classes: rows are laid out in panels
  const int64_t ldw_;
  int64_t ldw16_ = 0, next_at_ = 0;
  const bool native_;
  bool use_gemm_, ahead_of_time_;
  bool zero_ = false;
  bool plain_;  // every row counts one, without smoothing
  int rows_, stride_;
  Buffer<T> logits_, weight_, a_, mass_, each_, kept_, panel_, across_;
  Buffer<int32_t> label_;
  Buffer<int64_t> index_;
  Buffer<const T*> row_;
  Buffer<uint16_t> w16_, delta16_;
  Buffer<const uint16_t*> row16_;
  Buffer<const char*> next_;
  Ahead ahead_{};
};

extern template class Pass<float>;
extern template class Pass<double>;

}  // namespace tlplat
