// L-BFGS for many convex problems at once: every pass over z evaluates one trial point of every path still at work (walk.h).
#include <vector>

#include "walk.h"

namespace tlplat {
namespace {

template <class T>
class Lbfgs final : public Fit {
 public:
  Lbfgs(const TlplatHeadProblem& p, const Lead& lead)
      : p_(p), lead_(p), k_(kernels<T>(p.isa)), paths_(paths_of(p)), columns_(int64_t(paths_.size()) * p.classes), rows_(p, training_rows<T>(p)),
        team_(useful_threads(p, 4.0 * double(p.n) * double(p.d) * double(columns_))) {
    for (int i = 0; i < team_.size(); ++i) pass_.emplace_back(p_, k_, columns_);
    lead_.weight = const_cast<void*>(lead.weight), lead_.bias = const_cast<void*>(lead.bias);
    ldw_ = pass_[0].ldw(), weights_ = p.classes * ldw_;
    space_ = std::make_unique<Space<T>>(p_, k_, ldw_);
    w_ = Buffer<T>(columns_ * ldw_), b_ = Buffer<T>(columns_);
    for (int i = 0; i < team_.size(); ++i) {
      g_.emplace_back(columns_ * ldw_), gb_.emplace_back(columns_), loss_.emplace_back(int64_t(paths_.size()));
      fresh_.emplace_back(space_->size()), turned_.emplace_back(space_->size()), mean_.emplace_back(p.classes);
      other_.emplace_back(lead.weight ? space_->size() : 0);
    }
    for (size_t i = 0; i < paths_.size(); ++i) {
      const int32_t head = paths_[i][0];
      T *w = w_.get() + int64_t(i) * weights_, *b = b_.get() + int64_t(i) * p.classes;
      walks_.emplace_back(*space_, k_, paths_[i]);
      target_.emplace_back(p.classes);
      total_.push_back(totals(head, target_.back().get()));
      slot_.push_back(int32_t(i)), rows_of_.push_back(head);
      pack(p, head, ldw_, w, b);
      walks_.back().start(w, b);
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
          begun_ = true;
          return !slot_.empty() && ++round < rounds && !clock.over();
        });
    if (out_of_memory_) throw std::bad_alloc();
    return slot_.empty();
  }

  void result() override {
    for (int32_t i : slot_) put(walks_[size_t(i)], walks_[size_t(i)].left(), fresh_[0].get());
    if (p_.held_weight) held_losses();
  }

 private:
  // What the rows of a head weigh, and their targets' means (classes,).
  double totals(int64_t k, T* target) const {
    const T* weight = p_.row_weight ? static_cast<const T*>(p_.row_weight) + k * p_.row_weight_stride : nullptr;
    const auto of = [&](const void* table, int64_t c, double otherwise) {
      return table ? double(static_cast<const T*>(table)[c]) : otherwise;
    };
    std::vector<double> each(size_t(p_.classes), 0.0);
    double rows = 0, total = 0;
    for (int64_t i = 0; i < p_.n; ++i)
      if (p_.label[i] >= 0) each[size_t(p_.label[i])] += weight ? double(weight[i]) : 1;
    for (int64_t c = 0; c < p_.classes; ++c) rows += each[size_t(c)], total += each[size_t(c)] * of(p_.mass, c, 1);
    for (int64_t c = 0; c < p_.classes; ++c)
      target[c] = T((each[size_t(c)] * of(p_.own, c, 1) + rows * of(p_.smooth, c, 0)) / total);
    return total;
  }

  // A share of the rows at all trial points.
  void evaluate(int me, int chunk) {
    const int64_t active = int64_t(slot_.size());
    T *g = g_[size_t(chunk)].get(), *gb = gb_[size_t(chunk)].get();
    double* loss = loss_[size_t(chunk)].get();
    std::fill_n(g, active * weights_, T(0));
    std::fill_n(gb, active * p_.classes, T(0));
    std::fill_n(loss, active, 0.0);
    int64_t begin, end;
    team_.share(chunk, rows_.count(), kLanes, &begin, &end);
    pass_[size_t(me)].run(rows_.order(), begin, end, training_rows<T>(p_), rows_of_.data(), active, w_.get(), b_.get(), g, gb, loss, nullptr, nullptr,
                          -1, !begun_ && p_.from_zero);
  }

  void try_advance(int me, int64_t slot) {
    try {
      if (!advance(me, slot)) slot_[size_t(slot)] = -1;
    } catch (const std::bad_alloc&) {  // must not leave the thread
      out_of_memory_ = true;
      slot_[size_t(slot)] = -1;
    }
  }

  // One path: sums the threads' parts, accepts or refuses the trial point, and sets the next one; false at the path's end.
  bool advance(int me, int64_t slot) {
    const size_t i = size_t(slot_[size_t(slot)]);
    Walk<T>& walk = walks_[i];
    T *w = w_.get() + slot * weights_, *b = b_.get() + slot * p_.classes;
    T *fresh = fresh_[size_t(me)].get(), *turned = turned_[size_t(me)].get(), *mean = mean_[size_t(me)].get();
    const double decay = p_.decay[walk.head()];
    const T scale = T(1 / total_[i]);
    double f = 0;
    for (int j = 0; j < team_.size(); ++j) f += loss_[size_t(j)][slot];
    f = f / total_[i] + 0.5 * decay * k_.dot(w, w, weights_);
    k_.blend(scale, g_[0].get() + slot * weights_, T(decay), w, fresh, weights_);
    k_.blend(scale, gb_[0].get() + slot * p_.classes, T(0), b, fresh + weights_, p_.classes);
    for (int j = 1; j < team_.size(); ++j) {
      k_.axpy(scale, g_[size_t(j)].get() + slot * weights_, fresh, weights_);
      k_.axpy(scale, gb_[size_t(j)].get() + slot * p_.classes, fresh + weights_, p_.classes);
    }
    k_.blend(T(1), fresh + weights_, T(1), target_[i].get(), mean, p_.classes);
    space_->gradient(fresh, turned);
    const double norm = std::sqrt(k_.dot(fresh, fresh, space_->size()));
    bool new_head = !walk.started();
    int32_t before = -1;
    bool done = walk.arrive(f, turned, norm, mean, decay, fresh, p_.max_iter, p_.tol);
    while (done) {
      put(walk, 1, fresh);
      before = walk.head(), new_head = true;
      if (!walk.next(p_.decay, fresh, p_.tol, &done)) return false;
    }
    if (lead_.weight && new_head) follow(me, walk, before);
    walk.trial(w, b, fresh);
    return true;
  }

  // Sends the walk, which comes from head `before` (negative: from the start), where others went from there. What is its own
  // is its distance from them, which grows along every axis as their weights do.
  void follow(int me, Walk<T>& walk, int32_t before) {
    T *fresh = fresh_[size_t(me)].get(), *to = turned_[size_t(me)].get(), *from = other_[size_t(me)].get();
    const auto at = [&](int32_t head, T* x) {
      pack(lead_, head, ldw_, fresh, fresh + weights_);
      space_->enter(fresh, fresh + weights_, x);
    };
    at(walk.head(), to);
    if (before >= 0) {
      at(before, from);
      const T* x = walk.x();
      for (int64_t j = 0; j < ldw_; ++j) {
        T was = 0, is = 0;
        for (int64_t m = j; m < weights_; m += ldw_) was += from[m] * from[m], is += to[m] * to[m];
        const T growth = was > 0 ? std::sqrt(is / was) : T(1);
        for (int64_t m = j; m < weights_; m += ldw_) to[m] += growth * (x[m] - from[m]);
      }
      for (int64_t m = weights_; m < space_->size(); ++m) to[m] += x[m] - from[m];
    }
    walk.toward(to, fresh);
  }

  // The walk's point into the output arrays of its first heads.
  void put(const Walk<T>& walk, size_t heads, T* scratch) {
    if (!walk.started()) return;
    Buffer<T> bias(p_.classes);
    space_->leave(walk.x(), scratch, bias.get());
    const double square = k_.dot(scratch, scratch, weights_), decay = p_.decay[walk.head()];
    for (size_t i = 0; i < heads; ++i) {
      const int32_t k = walk.waiting()[i];
      unpack(p_, k, ldw_, scratch, bias.get());
      p_.loss[k] = walk.loss() + 0.5 * (p_.decay[k] - decay) * square;
    }
    p_.converged[walk.head()] = walk.converged(), p_.iterations[walk.head()] = walk.count();
  }

  // Closes the gaps that finished paths leave among the trial points.
  void compact() {
    size_t kept = 0;
    for (size_t i = 0; i < slot_.size(); ++i) {
      if (slot_[i] < 0) continue;
      if (kept < i) {
        std::copy_n(w_.get() + int64_t(i) * weights_, weights_, w_.get() + int64_t(kept) * weights_);
        std::copy_n(b_.get() + int64_t(i) * p_.classes, p_.classes, b_.get() + int64_t(kept) * p_.classes);
      }
      rows_of_[kept] = rows_of_[i], slot_[kept++] = slot_[i];
    }
    slot_.resize(kept), rows_of_.resize(kept);
  }

  // As many heads at a time as there are paths.
  void held_losses() {
    const ActiveRows<T> rows(p_, held_rows<T>(p_));
    const int64_t most = int64_t(paths_.size());
    Buffer<T> w(columns_ * ldw_), b(columns_);  // not in the trial points' place: the fit may go on
    std::vector<Buffer<double>> mass;
    for (int i = 0; i < team_.size(); ++i) mass.emplace_back(most);
    for (int64_t first = 0; first < p_.heads; first += most) {
      std::vector<int32_t> some;
      for (int64_t k = first; k < std::min(first + most, p_.heads); ++k) {
        pack(p_, k, ldw_, w.get() + (k - first) * weights_, b.get() + (k - first) * p_.classes);
        some.push_back(int32_t(k));
      }
      const int64_t count = int64_t(some.size());
      team_.run([&](int me) {
        const SerialBlas serial;
        double *loss = loss_[size_t(me)].get(), *own = mass[size_t(me)].get();  // evaluate() clears loss
        std::fill_n(loss, count, 0.0), std::fill_n(own, count, 0.0);
        int64_t begin, end;
        team_.share(me, rows.count(), kLanes, &begin, &end);
        pass_[size_t(me)].run(rows.order(), begin, end, held_rows<T>(p_), some.data(), count, w.get(), b.get(), nullptr, nullptr, loss, own);
      });
      for (int64_t k = 0; k < count; ++k) {
        double loss = 0, total = 0;
        for (int i = 0; i < team_.size(); ++i) loss += loss_[size_t(i)][k], total += mass[size_t(i)][k];
        p_.held_loss[first + k] = loss / (total > 0 ? total : 1);
      }
    }
  }

  const TlplatHeadProblem& p_;
  TlplatHeadProblem lead_;  // the same with the weights of those that heads follow, or null
  const Kernels<T>& k_;
  const std::vector<std::vector<int32_t>> paths_;
  const int64_t columns_;
  const ActiveRows<T> rows_;
  Team team_;
  std::atomic<bool> out_of_memory_{false};
  bool begun_ = false;
  int64_t ldw_ = 0, weights_ = 0;
  std::vector<Pass<T>> pass_;
  std::unique_ptr<Space<T>> space_;
  Buffer<T> w_, b_;
  std::vector<Buffer<T>> g_, gb_, fresh_, turned_, other_, mean_, target_;
  std::vector<Buffer<double>> loss_;
  std::vector<Walk<T>> walks_;
  std::vector<double> total_;
  std::vector<int32_t> slot_, rows_of_;  // the paths still at work, in the order of their trial points, and a head of each
};

}  // namespace

template <class T>
std::unique_ptr<Fit> make_lbfgs(const TlplatHeadProblem& p, const Lead& lead) {
  return std::make_unique<Lbfgs<T>>(p, lead);
}
template std::unique_ptr<Fit> make_lbfgs<float>(const TlplatHeadProblem&, const Lead&);
template std::unique_ptr<Fit> make_lbfgs<double>(const TlplatHeadProblem&, const Lead&);

}  // namespace tlplat
