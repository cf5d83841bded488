// SGD with momentum and AdamW for many heads at once. Heads of one seed walk over the rows in one order and share every
// read of z; the step's arithmetic is that of torch.optim.SGD and torch.optim.AdamW.
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "fit.h"
#include "order.h"

namespace tlplat {
namespace {

// The heads of one seed, in slots side by side; a head that stops gives its slot to the last.
template <class T>
struct Group {
  int64_t seed;
  std::vector<int32_t> head;  // of each slot
  Buffer<T> w, b, first, second, first_b, second_b;
};

template <class T>
class Minibatch final : public Fit {
 public:
  explicit Minibatch(const TlplatHeadProblem& p)
      : p_(p), k_(kernels<T>(p.isa)), best_(size_t(p.heads), INFINITY), waited_(size_t(p.heads), 0) {
    make_groups();
    int64_t columns = 0;
    for (const auto& g : groups_) columns = std::max<int64_t>(columns, int64_t(g.head.size()) * p.classes);
    const double flops = 4.0 * double(std::min(p.batch_size, p.n)) * double(p.d) * double(columns);
    team_ = std::make_unique<Team>(useful_threads(p, flops));
    for (int i = 0; i < team_->size(); ++i) pass_.emplace_back(p_, k_, columns);
    ldw_ = pass_[0].ldw();
    for (auto& g : groups_) fill(g);
    for (int i = 0; i < team_->size(); ++i) {
      g_.emplace_back(columns * ldw_), gb_.emplace_back(columns);
      loss_.emplace_back(p.heads), mass_.emplace_back(p.heads), epoch_loss_.emplace_back(p.heads);
    }
    order_ = Buffer<int32_t>(p.n);
    std::fill_n(p.iterations, p.heads, 0), std::fill_n(p.converged, p.heads, 1);
    std::fill_n(p.loss, p.heads, NAN), std::fill_n(p.held_loss, p.heads, NAN);
  }

  bool run(double seconds, int64_t rounds) override {
    const Clock clock(seconds);
    bool more = working();
    team_->run([&](int me) {
      const SerialBlas serial;
      for (int64_t round = 0; more; ++round) {
        for (auto& g : groups_) epoch(me, g);
        if (me == 0) {
          ++epoch_;
          more = working() && round + 1 < rounds && !clock.over();
        }
        team_->barrier();
      }
    });
    return !working();
  }

  void result() override {
    for (auto& g : groups_)
      for (size_t slot = 0; slot < g.head.size(); ++slot)
        if (!p_.held_weight) save(g, int64_t(slot));
  }

 private:
  bool working() const {
    bool any = false;
    for (const auto& g : groups_) any |= !g.head.empty();
    return any && epoch_ < p_.max_iter;
  }

  void make_groups() {
    std::vector<int32_t> by_seed(size_t(p_.heads));
    std::iota(by_seed.begin(), by_seed.end(), 0);
    std::stable_sort(by_seed.begin(), by_seed.end(), [&](int32_t i, int32_t j) { return p_.seed[i] < p_.seed[j]; });
    for (int32_t k : by_seed) {
      if (groups_.empty() || groups_.back().seed != p_.seed[k]) {
        groups_.emplace_back();
        groups_.back().seed = p_.seed[k];
      }
      groups_.back().head.push_back(k);
    }
  }

  void fill(Group<T>& g) {
    const int64_t columns = int64_t(g.head.size()) * p_.classes;
    g.w = Buffer<T>(columns * ldw_), g.b = Buffer<T>(columns);
    g.first = Buffer<T>(columns * ldw_), g.first_b = Buffer<T>(columns);
    if (p_.solver == TLPLAT_ADAMW) g.second = Buffer<T>(columns * ldw_), g.second_b = Buffer<T>(columns);
    for (size_t i = 0; i < g.head.size(); ++i)
      pack(p_, g.head[i], ldw_, g.w.get() + int64_t(i) * p_.classes * ldw_, g.b.get() + int64_t(i) * p_.classes);
  }

  void epoch(int me, Group<T>& g) {
    if (g.head.empty()) return;  // the same for all threads: only thread 0 shrinks it, before a barrier
    if (me == 0) epoch_order(p_.n, g.seed, epoch_, order_.get());
    std::fill_n(epoch_loss_[size_t(me)].get(), p_.heads, 0.0);
    team_->barrier();
    const int64_t batches = (p_.n + p_.batch_size - 1) / p_.batch_size;
    for (int64_t i = 0; i < batches; ++i) step(me, g, i, batches);
    if (p_.held_weight) {
      clear(me, g);
      gradient(me, g, nullptr, 0, p_.n, held_rows<T>(p_), false);
      team_->barrier();
    }
    if (me == 0) judge(g, batches);
    team_->barrier();
  }

  void clear(int me, const Group<T>& g) {
    const int64_t columns = int64_t(g.head.size()) * p_.classes;
    std::fill_n(g_[size_t(me)].get(), columns * ldw_, T(0));
    std::fill_n(gb_[size_t(me)].get(), columns, T(0));
    std::fill_n(loss_[size_t(me)].get(), p_.heads, 0.0), std::fill_n(mass_[size_t(me)].get(), p_.heads, 0.0);
  }

  void gradient(int me, Group<T>& g, const int32_t* order, int64_t from, int64_t to, const RowWeights<T>& rows, bool backward) {
    int64_t begin, end;
    team_->share(me, to - from, kLanes, &begin, &end);
    const size_t i = size_t(me);
    pass_[i].run(order, from + begin, from + end, rows, g.head.data(), int64_t(g.head.size()), g.w.get(), g.b.get(),
                 backward ? g_[i].get() : nullptr, backward ? gb_[i].get() : nullptr, loss_[i].get(), mass_[i].get());
  }

  void step(int me, Group<T>& g, int64_t index, int64_t batches) {
    clear(me, g);
    const int64_t from = index * p_.batch_size;
    gradient(me, g, order_.get(), from, std::min(from + p_.batch_size, p_.n), training_rows<T>(p_), true);
    team_->barrier();
    const int64_t columns = int64_t(g.head.size()) * p_.classes;
    int64_t begin, end;
    team_->share(me, columns, 1, &begin, &end);
    const int64_t t = epoch_ * batches + index;
    const double anneal = p_.cosine ? 0.5 * (1 + std::cos(M_PI * double(t) / double(p_.max_iter * batches))) : 1;
    for (int64_t m = begin; m < end; ++m) update(me, g, m, anneal, t);
    team_->barrier();
  }

  // One class of one head.
  void update(int me, Group<T>& g, int64_t m, double anneal, int64_t t) {
    const int64_t slot = m / p_.classes;
    const int32_t head = g.head[size_t(slot)];
    double loss = 0, mass = 0;
    for (int i = 0; i < team_->size(); ++i) loss += loss_[size_t(i)][slot], mass += mass_[size_t(i)][slot];
    const double scale = mass > 0 ? 1 / mass : 1, decay = p_.decay[head], rate = p_.rate[head] * anneal;
    T *sum = g_[0].get() + m * ldw_, *w = g.w.get() + m * ldw_;
    for (int i = 1; i < team_->size(); ++i) {
      k_.axpy(T(1), g_[size_t(i)].get() + m * ldw_, sum, ldw_);
      gb_[0][m] += gb_[size_t(i)][m];
    }
    double square;
    if (p_.solver == TLPLAT_SGD) {
      const T mu = T(p_.momentum);
      square = k_.sgd(w, g.first.get() + m * ldw_, sum, T(scale), T(decay), mu, T(rate), ldw_);
      k_.sgd(g.b.get() + m, g.first_b.get() + m, gb_[0].get() + m, T(scale), T(0), mu, T(rate), 1);
    } else {
      const T step = T(rate / (1 - std::pow(p_.beta1, double(t + 1))));
      const T root = T(1 / std::sqrt(1 - std::pow(p_.beta2, double(t + 1))));
      const T b1 = T(p_.beta1), b2 = T(p_.beta2), eps = T(p_.eps);
      square = k_.adamw(w, g.first.get() + m * ldw_, g.second.get() + m * ldw_, sum, T(scale), T(1 - rate * decay), b1, b2,
                        step, root, eps, ldw_);
      k_.adamw(g.b.get() + m, g.first_b.get() + m, g.second_b.get() + m, gb_[0].get() + m, T(scale), T(1), b1, b2, step,
               root, eps, 1);
    }
    epoch_loss_[size_t(me)][head] += 0.5 * decay * square + (m % p_.classes == 0 ? loss * scale : 0);
  }

  // The epoch's losses; keeps the best weights of heads with held-out rows, and lets finished heads go. Thread 0 only.
  void judge(Group<T>& g, int64_t batches) {
    for (size_t slot = g.head.size(); slot-- > 0;) {
      const int32_t head = g.head[slot];
      double loss = 0, held = 0, mass = 0;
      for (int i = 0; i < team_->size(); ++i) {
        loss += epoch_loss_[size_t(i)][head];
        held += loss_[size_t(i)][int64_t(slot)], mass += mass_[size_t(i)][int64_t(slot)];
      }
      p_.loss[head] = loss / double(batches);
      ++p_.iterations[head];
      const bool finite = std::isfinite(loss);
      p_.converged[head] = finite;
      bool stop = !finite;
      if (p_.held_weight) {
        held /= mass > 0 ? mass : 1;
        if (held < best_[size_t(head)]) {
          best_[size_t(head)] = p_.held_loss[head] = held;
          waited_[size_t(head)] = 0;
          save(g, int64_t(slot));
        } else {
          stop |= ++waited_[size_t(head)] >= p_.patience;
        }
      } else if (stop) {
        save(g, int64_t(slot));
      }
      if (stop) release(g, slot);
    }
  }

  void save(const Group<T>& g, int64_t slot) {
    unpack(p_, g.head[size_t(slot)], ldw_, g.w.get() + slot * p_.classes * ldw_, g.b.get() + slot * p_.classes);
  }

  void release(Group<T>& g, size_t slot) {
    const int64_t last = int64_t(g.head.size()) - 1, to = int64_t(slot), weights = p_.classes * ldw_;
    if (to < last) {
      for (auto* buffer : {&g.w, &g.first, &g.second})
        if (buffer->size()) std::copy_n(buffer->get() + last * weights, weights, buffer->get() + to * weights);
      for (auto* buffer : {&g.b, &g.first_b, &g.second_b})
        if (buffer->size()) std::copy_n(buffer->get() + last * p_.classes, p_.classes, buffer->get() + to * p_.classes);
      g.head[slot] = g.head[size_t(last)];
    }
    g.head.pop_back();
  }

  const TlplatHeadProblem& p_;
  const Kernels<T>& k_;
  std::vector<Group<T>> groups_;
  std::unique_ptr<Team> team_;
  std::vector<Pass<T>> pass_;
  std::vector<Buffer<T>> g_, gb_;
  std::vector<Buffer<double>> loss_, mass_, epoch_loss_;  // a thread: by slot, by slot, by head
  std::vector<double> best_;
  std::vector<int64_t> waited_;
  Buffer<int32_t> order_;
  int64_t ldw_ = 0, epoch_ = 0;
};

}  // namespace

template <class T>
std::unique_ptr<Fit> make_minibatch(const TlplatHeadProblem& p) {
  return std::make_unique<Minibatch<T>>(p);
}
template std::unique_ptr<Fit> make_minibatch<float>(const TlplatHeadProblem&);
template std::unique_ptr<Fit> make_minibatch<double>(const TlplatHeadProblem&);

}  // namespace tlplat
