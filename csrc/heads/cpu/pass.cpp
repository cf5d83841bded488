// See pass.h.
#include "pass.h"

#include <algorithm>
#include <type_traits>

namespace tlplat {
namespace {

// From this many columns on, the BLAS behind torch beats tiles in registers; with 32 registers of 64 bytes it never does.
constexpr int64_t kGemmColumns = 64;

// From this many columns on, rows in panels are worth the work of laying them out.
constexpr int64_t kPanelColumns = 48;

// A pass that reads less than this finds it in the cache anyway, and weights beyond it are worth reading for more rows.
constexpr int64_t kCacheBytes = 512 * 1024;

template <class S, class T>
void copy(const S* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = T(from[i]);
}

}  // namespace

template <class T>
Pass<T>::Pass(const TlplatHeadProblem& p, const Kernels<T>& k, int64_t columns)
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

template <class T>
void Pass<T>::run(const int32_t* order, int64_t begin, int64_t end, const RowWeights<T>& rows, const int32_t* head, int64_t heads,
    const T* w, const T* bias, T* g, T* gb, double* loss, double* mass, T* row_loss, int64_t next, bool zero) {
  zero_ = zero;
  if constexpr (std::is_same_v<T, float>)
    for (int64_t m = 0; mixed_ && g && m < heads * p_.classes; ++m)
      mixed_->narrow(w + m * ldw_, w16_.get() + m * ldw16_, p_.d);
  for (int64_t at = begin; at < end; at += rows_) {
    next_at_ = at + rows_ < end ? at + rows_ : next < 0 ? end : next;
    tile(order, at, int(std::min<int64_t>(rows_, end - at)), rows, head, heads, w, bias, g, gb, loss, mass, row_loss);
  }
}

template <class T>
void Pass<T>::predict(int64_t begin, int64_t end, const T* w, const T* bias, T* out) {
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

template <class T>
void Pass<T>::tile(const int32_t* order, int64_t at, int count, const RowWeights<T>& rows, const int32_t* head, int64_t heads,
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

template <class T>
Tile<T> Pass<T>::open(const int32_t* order, int64_t at, int count, const T* w, const T* bias, int64_t columns, bool backward, int64_t* ldz) {
  for (int r = 0; r < count; ++r) index_[r] = order ? order[at + r] : at + r;
  const bool mixed = mixed_ && backward;
  const T* z = mixed ? nullptr : gather(order, count, ldz);
  ahead_ = {next_.get(), ahead_of_time_ ? look_ahead(order, next_at_) : 0, p_.d * element_bytes(), 2, backward, 0, 0};
  const Tile<T> t{count, stride_, row_.get(), label_.get(), a_.get(), &ahead_};
  T* logits = logits_.get();
  if (zero_) {
    for (int64_t m = 0; m < columns; ++m) std::fill_n(logits + m * stride_, count, bias[m]);
  } else if (mixed) {
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

template <class T>
void Pass<T>::wide_forward(int count, const T* w, const T* bias, int64_t columns) {
  if constexpr (std::is_same_v<T, float>) {
    wide_->lay(row_.get(), count, p_.d, across_.get());
    wide_->forward(across_.get(), count, p_.d, w, ldw_, bias, columns, logits_.get(), stride_, ahead_);
    ahead_.at = ahead_.rows;
  }
}

template <class T>
Tile<uint16_t> Pass<T>::mixed_tile(int count) { return {count, stride_, row16_.get(), nullptr, nullptr, &ahead_}; }

template <class T>
void Pass<T>::mixed_forward(int count, const T* bias, int64_t columns) {
  if constexpr (std::is_same_v<T, float>) {
    for (int r = 0; r < count || r % 4; ++r)
      row16_[r] = static_cast<const uint16_t*>(p_.z) + index_[std::min(r, count - 1)] * p_.z_stride;
    mixed_->forward(mixed_tile(count), p_.d, w16_.get(), ldw16_, bias, columns, logits_.get());
  }
}

template <class T>
void Pass<T>::mixed_backward(int count, int64_t columns, T* g) {
  if constexpr (std::is_same_v<T, float>) {
    for (int64_t m = 0; m < columns; ++m) {
      mixed_->narrow(logits_.get() + m * stride_, delta16_.get() + m * stride_, count);
      if (count % 2) delta16_[m * stride_ + count] = 0;
    }
    mixed_->backward(mixed_tile(count), p_.d, delta16_.get(), columns, g, ldw_);
  }
}

template <class T>
void Pass<T>::weigh(const RowWeights<T>& rows, int32_t head, int count) {
  const T* table = rows.weight ? rows.weight + head * rows.stride : nullptr;
  for (int r = 0; r < count; ++r) weight_[r] = table ? table[index_[r]] * kept_[r] : kept_[r];
  for (int r = count; r < stride_; ++r) weight_[r] = 0;
}

template <class T>
const T* Pass<T>::gather(const int32_t* order, int count, int64_t* ldz) {
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

template <class T>
int Pass<T>::look_ahead(const int32_t* order, int64_t at) {
  const int count = int(std::clamp<int64_t>(p_.n - at, 0, rows_));
  for (int r = 0; r < count; ++r)
    next_[r] = static_cast<const char*>(p_.z) + (order ? order[at + r] : at + r) * p_.z_stride * element_bytes();
  return count;
}

template <class T>
void Pass<T>::widen(int64_t i, T* to) {
  const int64_t from = i * p_.z_stride;
  switch (p_.z_dtype) {
    case TLPLAT_F32: return copy(static_cast<const float*>(p_.z) + from, p_.d, to);
    case TLPLAT_F64: return copy(static_cast<const double*>(p_.z) + from, p_.d, to);
    case TLPLAT_BF16: return k_.widen_bf16(static_cast<const uint16_t*>(p_.z) + from, to, p_.d);
    default: return copy(static_cast<const _Float16*>(p_.z) + from, p_.d, to);
  }
}

template class Pass<float>;
template class Pass<double>;

}  // namespace tlplat
