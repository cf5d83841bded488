// L-BFGS for many convex problems at once: every pass over z evaluates one trial point of every head still at work. The
// method is that of tlplat/ops/reference_lbfgs.py (weak Wolfe by bisection, memory 10), with a memory of its own a head, and
// with a first guess of the inverse curvature that tells weights from biases, in place of a multiple of one. The curvature of
// a bias is near a, the mean of p (1 - p) over rows and classes; that of weights near a * l + decay, where l, some mean square
// of features, comes from the first step. The guess does not change with a rotation of the features.
#include <cmath>
#include <limits>
#include <vector>

#include "fit.h"

namespace tlplat {
namespace {

constexpr int kMemory = 10, kMaxTrials = 20;
constexpr double kArmijo = 1e-4, kCurvature = 0.9;

template <class T>
struct Head {
  Buffer<T> x, g, d, s[kMemory], y[kMemory];
  double guess = 1, guess_bias = 1, square = 0, spread = 0;
  double rho[kMemory], gamma = 1, f = 0, slope = 0, t = 1, low = 0, high = INFINITY, total = 0;
  int stored = 0, next = 0, trials = 0;
  int64_t count = 0;
  bool started = false, done = false, converged = false;
};

template <class T>
class Lbfgs final : public Fit {
 public:
  explicit Lbfgs(const TlplatHeadProblem& p)
      : p_(p), k_(kernels<T>(p.isa)), columns_(p.heads * p.classes), rows_(p, training_rows<T>(p)),
        team_(useful_threads(p, 4.0 * double(p.n) * double(p.d) * double(p.heads * p.classes))) {
    for (int i = 0; i < team_.size(); ++i) pass_.emplace_back(p_, k_, columns_);
    ldw_ = pass_[0].ldw();
    size_ = p.classes * ldw_ + p.classes;
    w_ = Buffer<T>(columns_ * ldw_), b_ = Buffer<T>(columns_);
    for (int i = 0; i < team_.size(); ++i) {
      g_.emplace_back(columns_ * ldw_), gb_.emplace_back(columns_), loss_.emplace_back(p.heads), spread_.emplace_back(p.heads);
      fresh_.emplace_back(size_);
    }
    heads_ = std::vector<Head<T>>(size_t(p.heads));
    for (int64_t k = 0; k < p.heads; ++k) {
      Head<T>& h = heads_[size_t(k)];
      h.x = Buffer<T>(size_), h.g = Buffer<T>(size_), h.d = Buffer<T>(size_);
      h.total = total(k);
      slot_.push_back(int32_t(k));
      pack(p, k, ldw_, w_.get() + k * p.classes * ldw_, b_.get() + k * p.classes);
    }
  }

  bool run(double seconds, int64_t rounds) override {
    const Clock clock(seconds);
    if (slot_.empty()) return true;
    int64_t round = 0;
    bool evaluated = false;
    team_.rounds<SerialBlas>(
        [&](int me, int chunk) {
          if (!evaluated) return evaluate(me, chunk);
          for (size_t i = size_t(chunk); i < slot_.size(); i += size_t(team_.size())) try_advance(me, int64_t(i));
        },
        [&] {
          evaluated = !evaluated;
          if (evaluated) return true;
          compact();
          return !slot_.empty() && ++round < rounds && !clock.over();
        });
    if (out_of_memory_) throw std::bad_alloc();
    return slot_.empty();
  }

  void result() override {
    for (int64_t k = 0; k < p_.heads; ++k) {
      const Head<T>& h = heads_[size_t(k)];
      if (h.started) unpack(p_, k, ldw_, h.x.get(), h.x.get() + p_.classes * ldw_);
      p_.loss[k] = h.f, p_.converged[k] = h.converged, p_.iterations[k] = h.count;
    }
    if (p_.held_weight) held_losses();
  }

 private:
  double total(int64_t k) const {
    const T* weight = p_.row_weight ? static_cast<const T*>(p_.row_weight) + k * p_.row_weight_stride : nullptr;
    const T* mass = static_cast<const T*>(p_.mass);
    double sum = 0;
    for (int64_t i = 0; i < p_.n; ++i) {
      const int32_t label = p_.label[i];
      if (label >= 0) sum += (weight ? double(weight[i]) : 1) * (mass ? double(mass[label]) : 1);
    }
    return sum;
  }

  // A share of the rows at all trial points.
  void evaluate(int me, int chunk) {
    const int64_t active = int64_t(slot_.size());
    T *g = g_[size_t(chunk)].get(), *gb = gb_[size_t(chunk)].get();
    double* loss = loss_[size_t(chunk)].get();
    std::fill_n(g, active * p_.classes * ldw_, T(0));
    std::fill_n(gb, active * p_.classes, T(0));
    std::fill_n(loss, active, 0.0), std::fill_n(spread_[size_t(chunk)].get(), active, 0.0);
    int64_t begin, end;
    team_.share(chunk, rows_.count(), kLanes, &begin, &end);
    pass_[size_t(me)].run(rows_.order(), begin, end, training_rows<T>(p_), slot_.data(), active, w_.get(), b_.get(), g, gb, loss, nullptr,
                          nullptr, -1, spread_[size_t(chunk)].get());
  }

  void try_advance(int me, int64_t slot) {
    try {
      advance(me, slot);
    } catch (const std::bad_alloc&) {  // must not leave the thread
      out_of_memory_ = true;
      heads_[size_t(slot_[size_t(slot)])].done = true;
    }
  }

  // One head: sums the threads' parts, accepts or refuses the trial point, and sets the next one.
  void advance(int me, int64_t slot) {
    Head<T>& h = heads_[size_t(slot_[size_t(slot)])];
    const int64_t weights = p_.classes * ldw_;
    T *w = w_.get() + slot * weights, *b = b_.get() + slot * p_.classes, *fresh = fresh_[size_t(me)].get();
    const double decay = p_.decay[slot_[size_t(slot)]];
    const T scale = T(1 / h.total);
    double f = 0;
    h.spread = 0;
    for (int i = 0; i < team_.size(); ++i) f += loss_[size_t(i)][slot], h.spread += spread_[size_t(i)][slot];
    f = f / h.total + 0.5 * decay * k_.dot(w, w, weights);
    k_.blend(scale, g_[0].get() + slot * weights, T(decay), w, fresh, weights);
    k_.blend(scale, gb_[0].get() + slot * p_.classes, T(0), b, fresh + weights, p_.classes);
    for (int i = 1; i < team_.size(); ++i) {
      k_.axpy(scale, g_[size_t(i)].get() + slot * weights, fresh, weights);
      k_.axpy(scale, gb_[size_t(i)].get() + slot * p_.classes, fresh + weights, p_.classes);
    }
    if (!h.started) {
      take(h, w, b, fresh, f);
      h.started = true;
      h.gamma = 1 / std::max(std::sqrt(k_.dot(fresh, fresh, size_)), 1e-30);
      direct(h);
    } else {
      judge(h, w, b, fresh, decay, f);
    }
    const double norm = std::sqrt(k_.dot(h.g.get(), h.g.get(), size_));
    const bool stalled = h.trials >= kMaxTrials;
    const double floor = 16 * double(std::numeric_limits<T>::epsilon()) * std::fabs(h.f);
    h.converged = norm <= p_.tol || (stalled && std::fabs(h.slope) <= floor);
    h.done = h.converged || stalled || h.count >= p_.max_iter || !std::isfinite(h.f);
    if (h.done) return;
    k_.blend(T(1), h.x.get(), T(h.t), h.d.get(), w, weights);
    k_.blend(T(1), h.x.get() + weights, T(h.t), h.d.get() + weights, b, p_.classes);
  }

  void judge(Head<T>& h, const T* w, const T* b, const T* fresh, double decay, double f) {
    const double slope = k_.dot(fresh, h.d.get(), size_);
    const double slack = 8 * double(std::numeric_limits<T>::epsilon()) * std::fabs(h.f);
    const bool decreased = f <= h.f + kArmijo * h.t * h.slope ||
                           (slope <= (2 * kArmijo - 1) * h.slope && f <= h.f + slack);
    if (decreased && slope >= kCurvature * h.slope) {
      remember(h, fresh, decay);
      take(h, w, b, fresh, f);
      ++h.count;
      direct(h);
      h.t = 1, h.low = 0, h.high = INFINITY, h.trials = 0;
      return;
    }
    (decreased ? h.low : h.high) = h.t;
    h.t = std::isinf(h.high) ? 2 * h.t : (h.low + h.high) / 2;
    ++h.trials;
  }

  void take(Head<T>& h, const T* w, const T* b, const T* fresh, double f) {
    std::copy_n(w, p_.classes * ldw_, h.x.get());
    std::copy_n(b, p_.classes, h.x.get() + p_.classes * ldw_);
    std::copy_n(fresh, size_, h.g.get());
    h.f = f;
  }

  void remember(Head<T>& h, const T* fresh, double decay) {
    if (!h.s[h.next].size()) h.s[h.next] = Buffer<T>(size_), h.y[h.next] = Buffer<T>(size_);
    T *s = h.s[h.next].get(), *y = h.y[h.next].get();
    k_.blend(T(h.t), h.d.get(), T(0), h.d.get(), s, size_);
    k_.blend(T(1), fresh, T(-1), h.g.get(), y, size_);
    const int64_t weights = p_.classes * ldw_;
    const double sy = k_.dot(s, y, weights), yy = k_.dot(y, y, weights);
    const double sy_bias = k_.dot(s + weights, y + weights, p_.classes), yy_bias = k_.dot(y + weights, y + weights, p_.classes);
    if (!(sy + sy_bias > 1e-10 * (yy + yy_bias))) return;
    const double a = std::max(h.spread / h.total / double(p_.classes), 1e-6);
    if (!h.square) h.square = std::max(sy / std::max(k_.dot(s, s, weights), 1e-30) - decay, 1e-6 * a) / a;
    h.guess = 1 / (a * h.square + decay), h.guess_bias = 1 / a;
    h.rho[h.next] = 1 / (sy + sy_bias), h.gamma = (sy + sy_bias) / (h.guess * yy + h.guess_bias * yy_bias);
    h.next = (h.next + 1) % kMemory;
    h.stored = std::min(h.stored + 1, kMemory);
  }

  // d = -H g, by the two loops.
  void direct(Head<T>& h) {
    double alpha[kMemory];
    T* q = h.d.get();
    std::copy_n(h.g.get(), size_, q);
    for (int i = 0; i < h.stored; ++i) {
      const int j = (h.next + kMemory - 1 - i) % kMemory;
      alpha[j] = h.rho[j] * k_.dot(h.s[j].get(), q, size_);
      k_.axpy(T(-alpha[j]), h.y[j].get(), q, size_);
    }
    const int64_t weights = p_.classes * ldw_;
    k_.blend(T(-h.gamma * h.guess), q, T(0), q, q, weights);
    k_.blend(T(-h.gamma * h.guess_bias), q + weights, T(0), q + weights, q + weights, p_.classes);
    for (int i = h.stored - 1; i >= 0; --i) {
      const int j = (h.next + kMemory - 1 - i) % kMemory;
      const double beta = -h.rho[j] * k_.dot(h.y[j].get(), q, size_);
      k_.axpy(T(beta - alpha[j]), h.s[j].get(), q, size_);
    }
    h.slope = k_.dot(h.g.get(), q, size_);
  }

  // Closes the gaps that finished heads leave among the trial points.
  void compact() {
    const int64_t weights = p_.classes * ldw_;
    size_t kept = 0;
    for (size_t i = 0; i < slot_.size(); ++i) {
      Head<T>& h = heads_[size_t(slot_[i])];
      if (h.done) {
        for (int j = 0; j < kMemory; ++j) h.s[j] = Buffer<T>(), h.y[j] = Buffer<T>();
        continue;
      }
      if (kept < i) {
        std::copy_n(w_.get() + int64_t(i) * weights, weights, w_.get() + int64_t(kept) * weights);
        std::copy_n(b_.get() + int64_t(i) * p_.classes, p_.classes, b_.get() + int64_t(kept) * p_.classes);
      }
      slot_[kept++] = slot_[i];
    }
    slot_.resize(kept);
  }

  void held_losses() {
    std::vector<int32_t> all;
    Buffer<T> w(columns_ * ldw_), b(columns_);  // not in the trial points' place: the fit may go on
    for (int64_t k = 0; k < p_.heads; ++k) {
      all.push_back(int32_t(k));
      pack(p_, k, ldw_, w.get() + k * p_.classes * ldw_, b.get() + k * p_.classes);
    }
    const ActiveRows<T> rows(p_, held_rows<T>(p_));
    std::vector<Buffer<double>> mass;
    for (int i = 0; i < team_.size(); ++i) mass.emplace_back(p_.heads);
    team_.run([&](int me) {
      const SerialBlas serial;
      double* loss = loss_[size_t(me)].get();  // evaluate() clears it
      std::fill_n(loss, p_.heads, 0.0);
      int64_t begin, end;
      team_.share(me, rows.count(), kLanes, &begin, &end);
      pass_[size_t(me)].run(rows.order(), begin, end, held_rows<T>(p_), all.data(), p_.heads, w.get(), b.get(), nullptr, nullptr,
                            loss, mass[size_t(me)].get());
    });
    for (int64_t k = 0; k < p_.heads; ++k) {
      double loss = 0, total = 0;
      for (int i = 0; i < team_.size(); ++i) loss += loss_[size_t(i)][k], total += mass[size_t(i)][k];
      p_.held_loss[k] = loss / (total > 0 ? total : 1);
    }
  }

  const TlplatHeadProblem& p_;
  const Kernels<T>& k_;
  const int64_t columns_;
  const ActiveRows<T> rows_;
  Team team_;
  std::atomic<bool> out_of_memory_{false};
  int64_t ldw_ = 0, size_ = 0;
  std::vector<Pass<T>> pass_;
  Buffer<T> w_, b_;
  std::vector<Buffer<T>> g_, gb_, fresh_;
  std::vector<Buffer<double>> loss_, spread_;
  std::vector<Head<T>> heads_;
  std::vector<int32_t> slot_;  // the heads still at work, in the order of their trial points
};

}  // namespace

template <class T>
std::unique_ptr<Fit> make_lbfgs(const TlplatHeadProblem& p) {
  return std::make_unique<Lbfgs<T>>(p);
}
template std::unique_ptr<Fit> make_lbfgs<float>(const TlplatHeadProblem&);
template std::unique_ptr<Fit> make_lbfgs<double>(const TlplatHeadProblem&);

}  // namespace tlplat
