// L-BFGS along a path: heads that differ in decay alone, from the strongest to the weakest, one after the other. Each starts
// where the one before ended, and with what that one has learnt: a change of decay changes steps' known curvature by a known
// amount. The method is that of tlplat/ops/reference_lbfgs.py: weak Wolfe by bisection.
#pragma once
#include <limits>
#include <vector>

#include "space.h"

namespace tlplat {

template <class T>
class Walk {
 public:
  static constexpr int kMost = 20, kAlone = 10, kMaxTrials = 20;  // steps remembered along a path, and of a head alone
  static constexpr double kArmijo = 1e-4, kCurvature = 0.9, kLeastShare = 0.01;

  Walk(const Space<T>& space, const Kernels<T>& k, std::vector<int32_t> path)
      : space_(space), k_(k), path_(std::move(path)), memory_(path_.size() > 1 ? kMost : kAlone), x_(space.size()), g_(space.size()), d_(space.size()),
        q_(space.size() - space.weights()), share_(q_.size()) {}

  int32_t head() const { return path_[at_]; }
  // This head and those that wait for it, which are where it is.
  const int32_t* waiting() const { return path_.data() + at_; }
  size_t left() const { return path_.size() - at_; }
  const T* x() const { return x_.get(); }
  double loss() const { return f_; }
  int64_t count() const { return count_; }
  bool started() const { return started_; }
  bool converged() const { return converged_; }

  void start(const T* w, const T* b) { space_.enter(w, b, x_.get()); }

  // The trial point, outside.
  void trial(T* w, T* b, T* scratch) const {
    k_.blend(T(1), x_.get(), T(started_ ? t_ : 0), d_.get(), scratch, space_.size());
    space_.leave(scratch, w, b);
  }

  // Loss, gradient, its norm outside and mean probabilities (classes,) at the trial point: takes it or not. `scratch`
  // (size,). True where the head is done.
  bool arrive(double f, const T* g, double norm, const T* mean, double decay, T* scratch, int64_t max_iter, double tol) {
    if (!started_) {
      started_ = true;
      restart(f, g, norm, mean, decay, scratch);
    } else {
      const double slope = k_.dot(g, d_.get(), space_.size());
      const double slack = 8 * double(std::numeric_limits<T>::epsilon()) * std::fabs(f_);
      const bool decreased = f <= f_ + kArmijo * t_ * slope_ || (slope <= (2 * kArmijo - 1) * slope_ && f <= f_ + slack);
      if (decreased && slope >= kCurvature * slope_) {
        remember(g, mean, decay, scratch);
        k_.axpy(T(t_), d_.get(), x_.get(), space_.size());
        std::copy_n(g, space_.size(), g_.get());
        f_ = f, norm_ = norm, ++count_;
        direct(decay, scratch);
        following_ = false;
      } else if (following_) {
        following_ = follows_ = false;
        direct(decay, scratch);
      } else {
        (decreased ? low_ : high_) = t_;
        t_ = std::isinf(high_) ? 2 * t_ : (low_ + high_) / 2;
        ++trials_;
      }
    }
    const double floor = 16 * double(std::numeric_limits<T>::epsilon()) * std::fabs(f_);
    const bool stalled = trials_ >= kMaxTrials;
    converged_ = norm_ <= tol || (stalled && std::fabs(slope_) <= floor);
    return converged_ || stalled || count_ >= max_iter || !std::isfinite(f_);
  }

  // On to the next head; false where there is none. True with `again` where it is done at once.
  bool next(const double* decays, T* scratch, double tol, bool* again) {
    const double before = decays[head()];
    if (++at_ >= path_.size()) return false;
    const double decay = decays[head()], change = decay - before;
    count_ = 0, *again = false;
    if (!std::isfinite(f_)) {
      std::fill_n(x_.get(), space_.size(), T(0)), std::fill_n(d_.get(), space_.size(), T(0));
      started_ = false;
      return true;
    }
    const int64_t weights = space_.weights();
    f_ += 0.5 * change * k_.dot(x_.get(), x_.get(), weights);
    k_.axpy(T(change), x_.get(), g_.get(), weights);
    norm_ = space_.norm(g_.get(), scratch);
    for (int j = 0; j < memory_; ++j) {
      if (!rho_[j]) continue;
      k_.axpy(T(change), s_[j].get(), y_[j].get(), weights);
      const double sy = k_.dot(s_[j].get(), y_[j].get(), space_.size()), yy = k_.dot(y_[j].get(), y_[j].get(), space_.size());
      rho_[j] = sy > 1e-10 * yy ? 1 / sy : 0;
    }
    scale(decay, scratch);
    direct(decay, scratch);
    converged_ = *again = norm_ <= tol;
    return true;
  }

  // Makes the head's first step one to `to`, where that is downhill; a step that is refused was the last of its kind.
  // `scratch` (size,).
  void toward(const T* to, T* scratch) {
    if (!started_ || !follows_) return;
    k_.blend(T(1), to, T(-1), x_.get(), scratch, space_.size());
    const double slope = k_.dot(g_.get(), scratch, space_.size());
    if (!(slope < 0)) return;
    std::copy_n(scratch, space_.size(), d_.get());
    slope_ = slope, following_ = true;
  }

 private:
  void restart(double f, const T* g, double norm, const T* mean, double decay, T* scratch) {
    std::copy_n(g, space_.size(), g_.get());
    f_ = std::isfinite(norm) ? f : NAN, norm_ = norm, newest_ = 0, gamma_ = 1, kappa_ = 0;
    std::fill_n(rho_, kMost, 0.0);
    for (int64_t c = 0; c < q_.size(); ++c) kappa_ += double(mean[c]);
    look(mean);
    direct(decay, scratch);
  }

  // The mean probabilities as shares, and the same with none near zero: where a class is, and how far a step there may go.
  void look(const T* mean) {
    const int64_t classes = q_.size();
    double total = 0, sum = 0;
    for (int64_t c = 0; c < classes; ++c) total += std::max(double(mean[c]), 0.0);
    for (int64_t c = 0; c < classes; ++c) {
      share_[c] = T(std::max(double(mean[c]), 0.0) / total);
      q_[c] = T(std::max(double(share_[c]), kLeastShare / double(classes)));
      sum += double(q_[c]);
    }
    for (int64_t c = 0; c < classes; ++c) q_[c] = T(double(q_[c]) / sum);
  }

  void remember(const T* g, const T* mean, double decay, T* scratch) {
    const int64_t size = space_.size(), weights = space_.weights();
    const int slot = (newest_ + 1) % memory_;
    if (!s_[slot].size()) s_[slot] = Buffer<T>(size), y_[slot] = Buffer<T>(size);
    T *s = s_[slot].get(), *y = y_[slot].get();
    k_.blend(T(t_), d_.get(), T(0), d_.get(), s, size);
    k_.blend(T(1), g, T(-1), g_.get(), y, size);
    const double sy = k_.dot(s, y, size);
    rho_[slot] = 0;
    if (!(sy > 1e-10 * k_.dot(y, y, size))) return;
    rho_[slot] = 1 / sy, newest_ = slot;
    look(mean);
    // Where decay is nearly all of the curvature, rounding is most of the rest.
    const double data = sy - decay * k_.dot(s, s, weights), known = space_.quadratic(s, share_.get());
    if (data > 0.01 * sy && known > 0) kappa_ = std::max(data / known, 1e-6);
    scale(decay, scratch);
  }

  // Shanno and Phua's factor for the newest step.
  void scale(double decay, T* scratch) {
    if (!rho_[newest_]) return;
    space_.solve(y_[newest_].get(), scratch, q_.get(), kappa_, decay);
    const double known = k_.dot(y_[newest_].get(), scratch, space_.size());
    gamma_ = known > 0 ? 1 / (rho_[newest_] * known) : 1;
  }

  // d = -H g, by the two loops; a new line search begins.
  void direct(double decay, T* q) {
    const int64_t size = space_.size();
    double alpha[kMost];
    std::copy_n(g_.get(), size, q);
    for (int i = 0; i < memory_; ++i) {
      const int j = (newest_ + memory_ - i) % memory_;
      if (!rho_[j]) continue;
      alpha[j] = rho_[j] * k_.dot(s_[j].get(), q, size);
      k_.axpy(T(-alpha[j]), y_[j].get(), q, size);
    }
    T* d = d_.get();
    space_.solve(q, d, q_.get(), kappa_, decay);
    k_.blend(T(-gamma_), d, T(0), d, d, size);
    for (int i = memory_ - 1; i >= 0; --i) {
      const int j = (newest_ + memory_ - i) % memory_;
      if (!rho_[j]) continue;
      const double beta = -rho_[j] * k_.dot(y_[j].get(), d, size);
      k_.axpy(T(beta - alpha[j]), s_[j].get(), d, size);
    }
    slope_ = k_.dot(g_.get(), d, size);
    t_ = 1, low_ = 0, high_ = INFINITY, trials_ = 0;
  }

  const Space<T>& space_;
  const Kernels<T>& k_;
  const std::vector<int32_t> path_;
  const int memory_;
  size_t at_ = 0;
  Buffer<T> x_, g_, d_, q_, share_, s_[kMost], y_[kMost];
  double rho_[kMost] = {}, kappa_ = 1, gamma_ = 1, f_ = 0, norm_ = 0, slope_ = 0, t_ = 1, low_ = 0, high_ = INFINITY;
  int newest_ = 0, trials_ = 0;
  int64_t count_ = 0;
  bool started_ = false, converged_ = false, follows_ = true, following_ = false;
};

}  // namespace tlplat
