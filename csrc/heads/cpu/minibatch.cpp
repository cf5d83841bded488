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
      : p_(p), k_(kernels<T>(p.isa)), rows_(p, training_rows<T>(p)), best_(size_t(p.heads), INFINITY), waited_(size_t(p.heads), 0) {
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
    starts_.resize(size_t(batches()) + 1);
    if (rows_.order()) {
      counts_ = Buffer<uint8_t>(p.n);
      for (int64_t i = 0; i < rows_.count(); ++i) counts_[rows_.order()[i]] = 1;
    }
    if (p.held_weight) held_ = std::make_unique<ActiveRows<T>>(p, held_rows<T>(p));
    std::fill_n(p.iterations, p.heads, 0), std::fill_n(p.converged, p.heads, 1);
    std::fill_n(p.loss, p.heads, NAN), std::fill_n(p.held_loss, p.heads, NAN);
  }

  bool run(double seconds, int64_t rounds) override {
    const Clock clock(seconds);
    if (!working()) return true;
    int64_t round = 0;
    open(0);
    team_->rounds<SerialBlas>([&](int me, int chunk) { work(me, chunk); },
                              [&] {
                                if (next()) return true;
                                ++epoch_;
                                return working() && ++round < rounds && !clock.over() && open(0);
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

  // What the chunks of a round are: of a step, the gradients over shares of its rows, then the updates of shares of the
  // classes; and the loss over shares of the rows that are held out.
  enum class Stage { kGradient, kUpdate, kHeld };

  // Goes to an epoch of the first group from `group` on that has heads; false where none has.
  bool open(size_t group) {
    while (group < groups_.size() && groups_[group].head.empty()) ++group;
    if (group == groups_.size()) return false;
    group_ = group, batch_ = 0;
    epoch_order(p_.n, groups_[group].seed, epoch_, order_.get());
    batch_starts();
    for (auto& losses : epoch_loss_) std::fill_n(losses.get(), p_.heads, 0.0);
    stage_ = Stage::kGradient;
    return true;
  }

  // Where each batch begins in the order, from which rows that count nothing are dropped: batches keep their other rows.
  void batch_starts() {
    int64_t kept = 0;
    for (int64_t b = 0; b < batches(); ++b) {
      const int64_t from = b * p_.batch_size, to = std::min(from + p_.batch_size, p_.n);
      starts_[size_t(b)] = counts_.size() ? kept : from;
      for (int64_t i = from; counts_.size() && i < to; ++i) {
        const int32_t row = order_[i];
        order_[kept] = row, kept += counts_[row];
      }
    }
    starts_[size_t(batches())] = counts_.size() ? kept : p_.n;
  }

  int64_t batches() const { return (p_.n + p_.batch_size - 1) / p_.batch_size; }

  // After a round; false at the end of an epoch. One thread alone.
  bool next() {
    if (stage_ == Stage::kGradient) {
      stage_ = Stage::kUpdate;
      return true;
    }
    if (stage_ == Stage::kUpdate) {
      stage_ = ++batch_ < batches() ? Stage::kGradient : Stage::kHeld;
      if (batch_ < batches() || p_.held_weight) return true;
    }
    judge(groups_[group_]);
    return open(group_ + 1);
  }

  void work(int me, int chunk) {
    Group<T>& g = groups_[group_];
    switch (stage_) {
      case Stage::kGradient: {
        const int64_t from = starts_[size_t(batch_)];
        return pass(me, chunk, g, order_.get(), from, starts_[size_t(batch_) + 1] - from, training_rows<T>(p_), true);
      }
      case Stage::kUpdate: return updates(chunk, g);
      case Stage::kHeld: return pass(me, chunk, g, held_->order(), 0, held_->count(), held_rows<T>(p_), false);
    }
  }

  // Over a share of order[from, from + count).
  void pass(int me, int chunk, Group<T>& g, const int32_t* order, int64_t from, int64_t count, const RowWeights<T>& rows,
            bool backward) {
    const int64_t heads = int64_t(g.head.size()), columns = heads * p_.classes;
    T *sum = backward ? g_[size_t(chunk)].get() : nullptr, *sum_b = backward ? gb_[size_t(chunk)].get() : nullptr;
    double *loss = loss_[size_t(chunk)].get(), *mass = mass_[size_t(chunk)].get();
    if (backward) std::fill_n(sum, columns * ldw_, T(0)), std::fill_n(sum_b, columns, T(0));
    std::fill_n(loss, p_.heads, 0.0), std::fill_n(mass, p_.heads, 0.0);
    int64_t begin, end;
    team_->share(chunk, count, kLanes, &begin, &end);
    pass_[size_t(me)].run(order, from + begin, from + end, rows, g.head.data(), heads, g.w.get(), g.b.get(), sum, sum_b, loss,
                          mass, nullptr, from + count + begin);
  }

  void updates(int chunk, Group<T>& g) {
    int64_t begin, end;
    team_->share(chunk, int64_t(g.head.size()) * p_.classes, 1, &begin, &end);
    const int64_t t = epoch_ * batches() + batch_;
    const double anneal = p_.cosine ? 0.5 * (1 + std::cos(M_PI * double(t) / double(p_.max_iter * batches()))) : 1;
    for (int64_t m = begin; m < end; ++m) update(chunk, g, m, anneal, t);
  }

  // One class of one head.
  void update(int chunk, Group<T>& g, int64_t m, double anneal, int64_t t) {
    const int64_t slot = m / p_.classes;
    const int32_t head = g.head[size_t(slot)];
    double loss = 0, mass = 0;
    for (int i = 0; i < team_->size(); ++i) loss += loss_[size_t(i)][slot], mass += mass_[size_t(i)][slot];
    const double scale = mass > 0 ? 1 / mass : 1, decay = p_.decay[head], rate = p_.rate[head] * anneal;
    T *sum = g_[0].get() + m * ldw_, *w = g.w.get() + m * ldw_, *sum_b = gb_[0].get() + m;
    for (int i = 1; i < team_->size(); ++i) {
      k_.axpy(T(1), g_[size_t(i)].get() + m * ldw_, sum, ldw_);
      *sum_b += gb_[size_t(i)][m];
    }
    double square;
    if (p_.solver == TLPLAT_SGD) {
      const T mu = T(p_.momentum);
      square = k_.sgd(w, g.first.get() + m * ldw_, sum, T(scale), T(decay), mu, T(rate), ldw_);
      k_.sgd(g.b.get() + m, g.first_b.get() + m, sum_b, T(scale), T(0), mu, T(rate), 1);
    } else {
      const T step = T(rate / (1 - std::pow(p_.beta1, double(t + 1))));
      const T root = T(1 / std::sqrt(1 - std::pow(p_.beta2, double(t + 1))));
      const T b1 = T(p_.beta1), b2 = T(p_.beta2), eps = T(p_.eps);
      square = k_.adamw(w, g.first.get() + m * ldw_, g.second.get() + m * ldw_, sum, T(scale), T(1 - rate * decay), b1, b2,
                        step, root, eps, ldw_);
      k_.adamw(g.b.get() + m, g.first_b.get() + m, g.second_b.get() + m, sum_b, T(scale), T(1), b1, b2, step,
               root, eps, 1);
    }
    epoch_loss_[size_t(chunk)][head] += 0.5 * decay * square + (m % p_.classes == 0 ? loss * scale : 0);
  }

  // The epoch's losses; keeps the best weights of heads with held-out rows, and lets finished heads go.
  void judge(Group<T>& g) {
    for (size_t slot = g.head.size(); slot-- > 0;) {
      const int32_t head = g.head[slot];
      double loss = 0, held = 0, mass = 0;
      for (int i = 0; i < team_->size(); ++i) {
        loss += epoch_loss_[size_t(i)][head];
        held += loss_[size_t(i)][int64_t(slot)], mass += mass_[size_t(i)][int64_t(slot)];
      }
      p_.loss[head] = loss / double(batches());
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
  const ActiveRows<T> rows_;
  std::vector<Group<T>> groups_;
  std::unique_ptr<Team> team_;
  std::vector<Pass<T>> pass_;
  std::vector<Buffer<T>> g_, gb_;
  std::vector<Buffer<double>> loss_, mass_, epoch_loss_;  // a chunk: by slot, by slot, by head
  std::vector<double> best_;
  std::vector<int64_t> waited_;
  Buffer<int32_t> order_;
  Buffer<uint8_t> counts_;  // of each row, whether it counts; none where all do
  std::unique_ptr<ActiveRows<T>> held_;
  std::vector<int64_t> starts_;
  int64_t ldw_ = 0, epoch_ = 0, batch_ = 0;
  size_t group_ = 0;
  Stage stage_ = Stage::kGradient;
};

}  // namespace

template <class T>
std::unique_ptr<Fit> make_minibatch(const TlplatHeadProblem& p) {
  return std::make_unique<Minibatch<T>>(p);
}
template std::unique_ptr<Fit> make_minibatch<float>(const TlplatHeadProblem&);
template std::unique_ptr<Fit> make_minibatch<double>(const TlplatHeadProblem&);

}  // namespace tlplat
