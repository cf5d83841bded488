// The coordinates that L-BFGS works in, and the curvature that it starts from there. Features are centred and may be
// turned onto the axes of their second moments, `spectrum` s; the loss then curves about like
// kappa (diag q - q q^T) s_j + decay between classes along axis j, with q the mean probabilities, and like
// kappa (diag q - q q^T) between biases (Boehning 1992, with class probabilities in place of 1 / C). kappa is 1 at q = p and
// falls as the p of single rows sharpen: each step tells it anew. See tlplat/ops/curvature.py, the definition.
#pragma once
#include <cmath>

#include "fit.h"

namespace tlplat {

template <class T>
class Space {
 public:
  Space(const TlplatHeadProblem& p, const Kernels<T>& k, int64_t ldw)
      : k_(k), classes_(p.classes), d_(p.d), ldw_(ldw), centre_(ldw), spectrum_(ldw), nothing_(p.classes) {
    std::copy_n(p.centre, p.d, centre_.get());
    std::fill_n(spectrum_.get(), ldw, T(1));
    std::copy_n(p.spectrum, p.d, spectrum_.get());
    if (!p.axes) return;
    const T* axes = static_cast<const T*>(p.axes);
    for (auto* rows : {&axis_, &feature_}) *rows = Buffer<const T*>(round_up(d_, 4));
    for (int64_t j = 0; j < round_up(d_, 4); ++j) {
      const int64_t row = std::min(j, d_ - 1);
      axis_[j] = axes + row * d_, feature_[j] = axes + (d_ + row) * d_;
    }
  }

  int64_t weights() const { return classes_ * ldw_; }
  int64_t size() const { return weights() + classes_; }

  // A gradient (weights, then biases) to these coordinates. `to` is another array.
  void gradient(const T* from, T* to) const {
    if (axis_.size()) product(axis_, from, to);
    else std::copy_n(from, weights(), to);
    std::copy_n(from + weights(), classes_, to + weights());
    for (int64_t c = 0; c < classes_; ++c) k_.axpy(-from[weights() + c], centre_.get(), to + c * ldw_, ldw_);
  }

  // A point to these coordinates, and back.
  void enter(const T* w, const T* b, T* x) const {
    if (axis_.size()) product(axis_, w, x);
    else std::copy_n(w, weights(), x);
    for (int64_t c = 0; c < classes_; ++c) x[weights() + c] = T(b[c] + k_.dot(centre_.get(), x + c * ldw_, ldw_));
  }
  void leave(const T* x, T* w, T* b) const {
    if (axis_.size()) product(feature_, x, w);
    else std::copy_n(x, weights(), w);
    for (int64_t c = 0; c < classes_; ++c) b[c] = T(x[weights() + c] - k_.dot(centre_.get(), x + c * ldw_, ldw_));
  }

  // The norm of a gradient in these coordinates, as it is outside; `scratch` (ldw,).
  double norm(const T* g, T* scratch) const {
    double sum = k_.dot(g + weights(), g + weights(), classes_);
    for (int64_t c = 0; c < classes_; ++c) {
      k_.blend(T(1), g + c * ldw_, g[weights() + c], centre_.get(), scratch, ldw_);
      sum += k_.dot(scratch, scratch, ldw_);
    }
    return std::sqrt(sum);
  }

  // s^T H s / kappa, less the decay's part.
  double quadratic(const T* s, const T* q) const {
    double mean = 0, square = 0;
    for (int64_t c = 0; c < classes_; ++c) {
      const double v = s[weights() + c];
      mean += q[c] * v, square += q[c] * v * v;
    }
    return k_.quadratic(s, ldw_, classes_, spectrum_.get(), q) + std::max(square - mean * mean, 0.0);
  }

  // H^-1 x, to `to`; a shift of all biases has no curvature, and is left out.
  void solve(const T* x, T* to, const T* q, double kappa, double decay) const {
    k_.solve(x, to, ldw_, classes_, spectrum_.get(), q, T(kappa), T(decay));
    const T *in = x + weights();
    T* out = to + weights();
    double mean = 0, shift = 0;
    for (int64_t c = 0; c < classes_; ++c) mean += double(in[c]) / double(classes_);
    for (int64_t c = 0; c < classes_; ++c) shift += (in[c] - mean) / (kappa * q[c]) / double(classes_);
    for (int64_t c = 0; c < classes_; ++c) out[c] = T((in[c] - mean) / (kappa * q[c]) - shift);
  }

 private:
  void product(const Buffer<const T*>& rows, const T* from, T* to) const {
    Ahead none{nullptr, 0, 64, 1, false, 0, 0};
    const Tile<T> tile{int(d_), int(ldw_), rows.get(), nullptr, nullptr, &none};
    k_.forward(tile, d_, from, ldw_, nothing_.get(), classes_, to);
    for (int64_t c = 0; c < classes_; ++c) std::fill_n(to + c * ldw_ + d_, ldw_ - d_, T(0));
  }

  const Kernels<T>& k_;
  const int64_t classes_, d_, ldw_;
  Buffer<T> centre_, spectrum_, nothing_;  // centre and spectrum along the axes
  Buffer<const T*> axis_, feature_;        // rows of the axes, and of their transpose; none where the features stay
};

}  // namespace tlplat
