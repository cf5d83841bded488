// One pass over rows: logits, loss, and the gradient of weights and biases of many heads, tile by tile. Neither the
// logits of all rows nor a copy of z is ever held.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

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

// From this many columns on, the BLAS behind torch beats tiles in registers; with 32 registers of 64 bytes it never does.
constexpr int64_t kGemmColumns = 64;

// From this many columns on, rows in panels are worth the work of laying them out.
constexpr int64_t kPanelColumns = 48;

// A pass that reads less than this finds it in the cache anyway, and weights beyond it are worth reading for more rows.
constexpr int64_t kCacheBytes = 512 * 1024;

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
class Pass {
 public:
  // `columns` is the most heads * classes that a run will see.
  Pass(const TlplatHeadProblem& p, const Kernels<T>& k, int64_t columns)
      : p_(p), k_(k), ldw_(round_up(p.d, kLanes)), native_(p.z_dtype == p.compute) {
    use_gemm_ = p.isa < kAvx512 && columns >= kGemmColumns && p.d >= 16 && sgemm_ && dgemm_ && MKL_Set_Num_Threads_Local;
    if (std::is_same_v<T, float> && p.z_dtype == TLPLAT_BF16 && p.solver != TLPLAT_LBFGS) mixed_ = mixed_kernels(p.isa);
    if (std::is_same_v<T, float> && !mixed_ && columns >= kPanelColumns && p.d >= kLanes) wide_ = wide_kernels(p.isa);
    // Rows beyond the first-level cache are worth fewer visits of the gradient, which are dear to wide vectors.
    const int64_t cache = (p.isa == kAvx512 ? 96 : 48) * 1024, least = p.isa == kAvx512 ? 2 * kLanes : kLanes;
    const int64_t fits = cache / int64_t(sizeof(T)) / std::max<int64_t>(p.d, 1) / kLanes * kLanes;
    const bool large = columns * ldw_ * int64_t(sizeof(T)) > kCacheBytes;
    rows_ = use_gemm_ ? 256 : wide_ ? 64 : int(std::clamp<int64_t>(fits, large ? 64 : least, 64));
    ahead_of_time_ = !use_gemm_ && p.n * p.d * element_bytes() > kCacheBytes;
    plain_ = p.label && !p.own && !p.mass && !p.smooth &&
             std::all_of(p.label, p.label + p.n, [](int32_t y) { return y >= 0; });
    stride_ = rows_ + (use_gemm_ || wide_ ? kLanes : 0);
    logits_ = Buffer<T>(columns * stride_);
    for (auto* buffer : {&weight_, &a_, &mass_, &each_, &kept_}) *buffer = Buffer<T>(stride_);
    label_ = Buffer<int32_t>(stride_), index_ = Buffer<int64_t>(stride_);
    row_ = Buffer<const T*>(rows_ + 32);
    next_ = Buffer<const char*>(rows_);
    std::fill_n(a_.get(), stride_, T(1)), std::fill_n(mass_.get(), stride_, T(1)), std::fill_n(kept_.get(), stride_, T(1));
    if (mixed_) {
      ldw16_ = round_up(p.d, 32);
      w16_ = Buffer<uint16_t>(columns * ldw16_), delta16_ = Buffer<uint16_t>(columns * stride_);
      row16_ = Buffer<const uint16_t*>(rows_ + 4);
    }
    panel_ = Buffer<T>((!native_ || use_gemm_) ? rows_ * ldw_ : 0);
    across_ = Buffer<T>(wide_ ? rows_ * p.d : 0);
  }

  int64_t ldw() const { return ldw_; }

  // Rows order[begin, end) (null: begin ... end themselves) for heads head[0 ... heads) whose weights are the blocks of
  // w (heads * classes, ldw) and bias. Adds to loss (heads,), to mass (heads,) where not null, and to g, gb where not null.
  // After these rows, this thread will likely read those from order[next] on.
  void run(const int32_t* order, int64_t begin, int64_t end, const RowWeights<T>& rows, const int32_t* head, int64_t heads,
           const T* w, const T* bias, T* g, T* gb, double* loss, double* mass, T* row_loss = nullptr, int64_t next = -1) {
    if constexpr (std::is_same_v<T, float>)
      for (int64_t m = 0; mixed_ && g && m < heads * p_.classes; ++m)
        mixed_->narrow(w + m * ldw_, w16_.get() + m * ldw16_, p_.d);
    for (int64_t at = begin; at < end; at += rows_) {
      next_at_ = at + rows_ < end ? at + rows_ : next < 0 ? end : next;
      tile(order, at, int(std::min<int64_t>(rows_, end - at)), rows, head, heads, w, bias, g, gb, loss, mass, row_loss);
    }
  }

  // One head's probabilities of rows [begin, end), to out (end - begin, classes).
  void predict(int64_t begin, int64_t end, const T* w, const T* bias, T* out) {
    std::fill_n(a_.get(), stride_, T(1)), std::fill_n(weight_.get(), stride_, T(1));
    for (int64_t at = begin; at < end; at += rows_) {
      const int count = int(std::min<int64_t>(rows_, end - at));
      int64_t ldz = 0;
      next_at_ = at + count;
      Tile<T> t = open(nullptr, at, count, w, bias, p_.classes, false, &ldz);
      t.label = nullptr;
      k_.softmax(t, p_.classes, logits_.get(), weight_.get(), nullptr, true, nullptr);
      for (int r = 0; r < count; ++r)
        for (int64_t c = 0; c < p_.classes; ++c) *out++ = logits_[c * stride_ + r];
    }
  }

 private:
  void tile(const int32_t* order, int64_t at, int count, const RowWeights<T>& rows, const int32_t* head, int64_t heads,
            const T* w, const T* bias, T* g, T* gb, double* loss, double* mass, T* row_loss) {
    const auto table = [&](const void* of_class) { return static_cast<const T*>(rows.plain ? nullptr : of_class); };
    const T *own_of = table(p_.own), *mass_of = table(p_.mass), *smooth = table(p_.smooth);
    for (int r = 0; r < stride_ && plain_; ++r) label_[r] = r < count ? p_.label[order ? order[at + r] : at + r] : 0;
    for (int r = 0; r < stride_ && !plain_; ++r) {
      const int32_t label = r < count ? p_.label[order ? order[at + r] : at + r] : -1;
      const bool kept = label >= 0;
      label_[r] = kept ? label : 0, kept_[r] = T(kept);
      a_[r] = kept && own_of ? own_of[label] : T(kept), mass_[r] = kept && mass_of ? mass_of[label] : T(kept);
    }
    const int64_t columns = heads * p_.classes;
    int64_t ldz = 0;
    const Tile<T> t = open(order, at, count, w, bias, columns, g != nullptr, &ldz);
    T* logits = logits_.get();
    const bool shared = !rows.weight || rows.stride == 0;
    for (int64_t k = 0; k < heads; ++k) {
      if (k == 0 || !shared) weigh(rows, head[k], count);
      T* own = logits + k * p_.classes * stride_;
      loss[k] += k_.softmax(t, p_.classes, own, weight_.get(), smooth, g != nullptr, row_loss ? each_.get() : nullptr);
      if (row_loss)
        for (int r = 0; r < count; ++r) row_loss[at + r] = weight_[r] != 0 ? weight_[r] * each_[r] : T(0);
      if (mass) mass[k] += k_.dot(weight_.get(), mass_.get(), count);
      if (gb)
        for (int64_t c = 0; c < p_.classes; ++c) gb[k * p_.classes + c] += T(k_.total(own + c * stride_, count));
    }
    if (!g) return;
    if (mixed_)
      mixed_backward(count, columns, g);
    else if (use_gemm_)
      gemm('N', 'N', int(p_.d), int(columns), count, row_[0], int(ldz), logits, stride_, g, int(ldw_));
    else
      k_.backward(t, p_.d, logits, columns, g, ldw_);
  }

  // Gathers the tile's rows and fills logits_ (columns, stride_).
  Tile<T> open(const int32_t* order, int64_t at, int count, const T* w, const T* bias, int64_t columns, bool backward, int64_t* ldz) {
    for (int r = 0; r < count; ++r) index_[r] = order ? order[at + r] : at + r;
    const bool mixed = mixed_ && backward;
    const T* z = mixed ? nullptr : gather(order, count, ldz);
    ahead_ = {next_.get(), ahead_of_time_ ? look_ahead(order, next_at_) : 0, p_.d * element_bytes(), 2, backward, 0, 0};
    const Tile<T> t{count, stride_, row_.get(), label_.get(), a_.get(), &ahead_};
    T* logits = logits_.get();
    if (mixed) {
      mixed_forward(count, bias, columns);
    } else if (use_gemm_) {
      for (int64_t m = 0; m < columns; ++m) std::fill_n(logits + m * stride_, count, bias[m]);
      gemm('T', 'N', count, int(columns), int(p_.d), z, int(*ldz), w, int(ldw_), logits, stride_);
    } else if (wide_ && columns >= kWideColumns) {
      wide_forward(count, w, bias, columns);
    } else {
      k_.forward(t, p_.d, w, ldw_, bias, columns, logits);
    }
    return t;
  }

  void wide_forward(int count, const T* w, const T* bias, int64_t columns) {
    if constexpr (std::is_same_v<T, float>) {
      wide_->lay(row_.get(), count, p_.d, across_.get());
      wide_->forward(across_.get(), count, p_.d, w, ldw_, bias, columns, logits_.get(), stride_, ahead_);
      ahead_.at = ahead_.rows;
    }
  }

  Tile<uint16_t> mixed_tile(int count) { return {count, stride_, row16_.get(), nullptr, nullptr, &ahead_}; }

  void mixed_forward(int count, const T* bias, int64_t columns) {
    if constexpr (std::is_same_v<T, float>) {
      for (int r = 0; r < count || r % 4; ++r)
        row16_[r] = static_cast<const uint16_t*>(p_.z) + index_[std::min(r, count - 1)] * p_.z_stride;
      mixed_->forward(mixed_tile(count), p_.d, w16_.get(), ldw16_, bias, columns, logits_.get());
    }
  }

  void mixed_backward(int count, int64_t columns, T* g) {
    if constexpr (std::is_same_v<T, float>) {
      for (int64_t m = 0; m < columns; ++m) {
        mixed_->narrow(logits_.get() + m * stride_, delta16_.get() + m * stride_, count);
        if (count % 2) delta16_[m * stride_ + count] = 0;
      }
      mixed_->backward(mixed_tile(count), p_.d, delta16_.get(), columns, g, ldw_);
    }
  }

  void weigh(const RowWeights<T>& rows, int32_t head, int count) {
    const T* table = rows.weight ? rows.weight + head * rows.stride : nullptr;
    for (int r = 0; r < count; ++r) weight_[r] = table ? table[index_[r]] * kept_[r] : kept_[r];
    for (int r = count; r < stride_; ++r) weight_[r] = 0;
  }

  // Sets the tile's row pointers; for gemm, and for another storage type, the rows are copied to a panel.
  const T* gather(const int32_t* order, int count, int64_t* ldz) {
    const bool direct = native_ && !(use_gemm_ && (order || p_.z_stride < p_.d));
    for (int r = 0; r < count; ++r) {
      if (direct) {
        row_[r] = static_cast<const T*>(p_.z) + index_[r] * p_.z_stride;
      } else {
        T* to = panel_.get() + r * ldw_;
        widen(index_[r], to);
        row_[r] = to;
      }
    }
    for (int r = count; r % (wide_ ? 32 : 4); ++r) row_[r] = row_[count - 1];
    *ldz = direct ? p_.z_stride : ldw_;
    return row_[0];
  }

  // Notes the rows of the tile that comes after this one.
  int look_ahead(const int32_t* order, int64_t at) {
    const int count = int(std::clamp<int64_t>(p_.n - at, 0, rows_));
    for (int r = 0; r < count; ++r)
      next_[r] = static_cast<const char*>(p_.z) + (order ? order[at + r] : at + r) * p_.z_stride * element_bytes();
    return count;
  }

  int64_t element_bytes() const { return p_.z_dtype == TLPLAT_F64 ? 8 : p_.z_dtype == TLPLAT_F32 ? 4 : 2; }

  void widen(int64_t i, T* to) {
    const int64_t from = i * p_.z_stride;
    switch (p_.z_dtype) {
      case TLPLAT_F32: return copy(static_cast<const float*>(p_.z) + from, to);
      case TLPLAT_F64: return copy(static_cast<const double*>(p_.z) + from, to);
      case TLPLAT_BF16: return k_.widen_bf16(static_cast<const uint16_t*>(p_.z) + from, to, p_.d);
      default: return copy(static_cast<const _Float16*>(p_.z) + from, to);
    }
  }

  template <class S>
  void copy(const S* from, T* to) {
    for (int64_t i = 0; i < p_.d; ++i) to[i] = T(from[i]);
  }

  const TlplatHeadProblem& p_;
  const Kernels<T>& k_;
  const MixedKernels* mixed_ = nullptr;  // minibatch steps over bf16 features, where the CPU multiplies bf16
  const WideKernels* wide_ = nullptr;    // many classes: rows are laid out in panels
  const int64_t ldw_;
  int64_t ldw16_ = 0, next_at_ = 0;
  const bool native_;
  bool use_gemm_, ahead_of_time_;
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

}  // namespace tlplat
