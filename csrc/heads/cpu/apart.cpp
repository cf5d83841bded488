// Many heads as small fits side by side. Each serves heads of one seed that mostly count the same rows, few enough that
// their weights and sums stay in the second-level cache, and runs on one thread from its start to its end: nobody waits for
// anybody, rows that a fold leaves out are not computed, and a head that converges late holds up few others.
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <type_traits>
#include <vector>

#include "family.h"

namespace tlplat {
namespace {

constexpr int64_t kCacheBytes = 768 * 1024;    // of weights, sums and moments in a fit
constexpr int64_t kLeastColumns = 48;          // heads * classes of a fit: fewer are badly shaped products
constexpr int64_t kLargeColumns = 144;         // where z comes from memory, and must be worth the read
constexpr int64_t kLargeBytes = 8 << 20;
constexpr int64_t kFewGroups = 8;              // fewer sets of rows than this are not enough for all threads

int64_t element(const TlplatHeadProblem& p) { return p.compute == TLPLAT_F64 ? 8 : 4; }

// Rows of weights of some heads: those of the first where all are the same.
class Rows {
 public:
  void gather(const TlplatHeadProblem& p, const void* table, int64_t stride, const std::vector<int32_t>& heads) {
    const int64_t bytes = p.n * element(p);
    const auto row = [&](int32_t k) { return static_cast<const char*>(table) + int64_t(k) * stride * element(p); };
    at_ = table ? row(heads[0]) : nullptr;
    bool same = true;
    for (size_t i = 1; i < heads.size() && table && stride && same; ++i) same = !std::memcmp(at_, row(heads[i]), size_t(bytes));
    if (same) return;
    copy_ = Buffer<char>(bytes * int64_t(heads.size()));
    for (size_t i = 0; i < heads.size(); ++i) std::memcpy(copy_.get() + int64_t(i) * bytes, row(heads[i]), size_t(bytes));
    at_ = copy_.get(), stride_ = p.n;
  }
  const void* at() const { return at_; }
  int64_t stride() const { return stride_; }

 private:
  Buffer<char> copy_;
  const void* at_ = nullptr;
  int64_t stride_ = 0;
};

// A fit of some of the heads, with arrays of its own while it is at work.
class Part {
 public:
  explicit Part(std::vector<int32_t> heads) : heads_(std::move(heads)) {}
  const std::vector<int32_t>& heads() const { return heads_; }
  bool done() const { return done_; }

  void join(Family& family) { family_ = &family, place_ = family.add(heads_); }
  bool waits() const { return family_ && !family_->leads(place_) && !family_->ready(); }
  void arrive(const TlplatHeadProblem& whole) {
    if (family_ && family_->leads(place_)) family_->arrive(whole);
  }

  void run(const TlplatHeadProblem& whole, double seconds, int64_t rounds) {
    if (!fit_) start(whole);
    if (!fit_->run(seconds, rounds)) return;
    result(whole);
    fit_.reset();
    arrays_.clear();
    training_ = Rows(), held_ = Rows();
    done_ = true;
  }

  void result(const TlplatHeadProblem& whole) {
    if (!fit_) return;
    fit_->result();
    const auto put = [&](auto* to, const auto* from) {
      for (size_t i = 0; i < heads_.size(); ++i) to[heads_[i]] = from[i];
    };
    put(whole.loss, p_.loss), put(whole.held_loss, p_.held_loss);
    put(whole.converged, p_.converged), put(whole.iterations, p_.iterations);
    blocks(whole.weight, p_.weight, whole.classes * whole.d * element(whole), false);
    blocks(whole.bias, p_.bias, whole.classes * element(whole), false);
  }

 private:
  void start(const TlplatHeadProblem& whole) {
    p_ = whole;
    p_.heads = int64_t(heads_.size()), p_.threads = 1;
    take(p_.decay, whole.decay), take(p_.rate, whole.rate), take(p_.seed, whole.seed);
    take(p_.path, whole.path), take(p_.loss, whole.loss), take(p_.held_loss, whole.held_loss);
    take(p_.converged, whole.converged), take(p_.iterations, whole.iterations);
    p_.weight = room(p_.heads * whole.classes * whole.d * element(whole));
    p_.bias = room(p_.heads * whole.classes * element(whole));
    blocks(whole.weight, p_.weight, whole.classes * whole.d * element(whole), true);
    blocks(whole.bias, p_.bias, whole.classes * element(whole), true);
    training_.gather(whole, whole.row_weight, whole.row_weight_stride, heads_);
    held_.gather(whole, whole.held_weight, whole.held_weight_stride, heads_);
    p_.row_weight = training_.at(), p_.row_weight_stride = training_.stride();
    p_.held_weight = held_.at(), p_.held_weight_stride = held_.stride();
    fit_ = make_together(p_, family_ && !family_->leads(place_) ? family_->lead() : Lead{});
  }

  void* room(int64_t bytes) {
    arrays_.emplace_back(bytes);
    return arrays_.back().get();
  }

  template <class X>
  void take(X*& to, const std::type_identity_t<X>* from) {
    if (!from) return;
    auto* own = static_cast<std::remove_const_t<X>*>(room(p_.heads * int64_t(sizeof(X))));
    for (size_t i = 0; i < heads_.size(); ++i) own[i] = from[heads_[i]];
    to = own;
  }

  // A block of so many bytes a head, to the own arrays or back.
  void blocks(void* whole, void* own, int64_t bytes, bool in) {
    for (size_t i = 0; i < heads_.size(); ++i) {
      char *there = static_cast<char*>(whole) + heads_[i] * bytes, *here = static_cast<char*>(own) + int64_t(i) * bytes;
      std::memcpy(in ? here : there, in ? there : here, size_t(bytes));
    }
  }

  const std::vector<int32_t> heads_;
  TlplatHeadProblem p_{};
  Rows training_, held_;
  std::vector<Buffer<char>> arrays_;
  std::unique_ptr<Fit> fit_;
  Family* family_ = nullptr;
  int64_t place_ = 0;
  bool done_ = false;
};

class Apart final : public Fit {
 public:
  Apart(const TlplatHeadProblem& p, const std::vector<std::vector<int32_t>>& groups)
      : p_(p), team_(int(std::min<int64_t>(std::max(p.threads, 1), int64_t(groups.size())))) {
    for (const auto& heads : groups) parts_.push_back(std::make_unique<Part>(heads));
    if (!p.path) return;
    for (auto& part : parts_) {
      std::vector<double> decays;
      for (int32_t k : part->heads()) decays.push_back(p.decay[k]);
      part->join(families_[decays]);
    }
    for (auto& [decays, family] : families_) family.close(p);
  }

  bool run(double seconds, int64_t rounds) override {
    // A caller who counts rounds wants all heads at the same one, however long that takes.
    const double limit = rounds < (int64_t(1) << 60) ? INFINITY : seconds;
    const Clock clock(limit);
    std::mutex own;
    std::condition_variable changed;
    std::vector<bool> taken(parts_.size());
    int busy = 0;
    bool short_of_memory = false;
    team_.run([&](int) {
      const SerialBlas serial;
      std::unique_lock lock(own);
      while (!clock.over() && !short_of_memory) {
        size_t i = 0;
        while (i < parts_.size() && (taken[i] || parts_[i]->waits())) ++i;
        if (i == parts_.size()) {
          if (!busy) break;
          changed.wait(lock);
          continue;
        }
        Part& part = *parts_[i];
        taken[i] = true;
        if (part.done()) continue;
        ++busy;
        lock.unlock();
        bool failed = false;
        try {
          part.run(p_, limit - clock.spent(), rounds);
        } catch (const std::bad_alloc&) {  // must not leave the thread
          failed = true;
        }
        lock.lock();
        --busy, short_of_memory |= failed;
        if (part.done()) part.arrive(p_);
        changed.notify_all();
      }
    });
    if (short_of_memory) throw std::bad_alloc();
    return std::all_of(parts_.begin(), parts_.end(), [](const auto& part) { return part->done(); });
  }

  void result() override {
    for (auto& part : parts_) part->result(p_);
  }

 private:
  const TlplatHeadProblem& p_;
  Team team_;
  std::map<std::vector<double>, Family> families_;  // by their heads' decays
  std::vector<std::unique_ptr<Part>> parts_;
};

// A number for the rows that a head counts.
template <class T>
uint64_t pattern(const TlplatHeadProblem& p, int64_t head) {
  if (!p.row_weight || !p.row_weight_stride) return 0;
  const T* weight = static_cast<const T*>(p.row_weight) + head * p.row_weight_stride;
  uint64_t hash = 1469598103934665603ull;
  for (int64_t i = 0; i < p.n; ++i) hash = (hash ^ uint64_t(weight[i] != 0)) * 1099511628211ull;
  return hash;
}

// Paths over the same rows together, or each alone where threads would have nothing to do; weak decays, which take longest,
// first. Null where there are too few for all threads, or one.
std::unique_ptr<Fit> make_paths_apart(const TlplatHeadProblem& p) {
  const auto paths = paths_of(p);
  const int64_t threads = std::max(p.threads, 1);
  const auto rows = [&](const std::vector<int32_t>& heads) {
    return p.compute == TLPLAT_F64 ? pattern<double>(p, heads[0]) : pattern<float>(p, heads[0]);
  };
  std::vector<std::vector<int32_t>> groups;
  std::vector<uint64_t> key;
  for (const auto& path : paths) {
    const uint64_t own = rows(path);
    const auto at = std::find(key.begin(), key.end(), own) - key.begin();
    if (size_t(at) == key.size()) key.push_back(own), groups.emplace_back();
    groups[size_t(at)].insert(groups[size_t(at)].end(), path.begin(), path.end());
  }
  if (int64_t(groups.size()) < kFewGroups) groups = paths;
  if (groups.size() < 2 || (threads > 1 && int64_t(groups.size()) < 2 * threads)) return nullptr;
  const auto weakest = [&](const std::vector<int32_t>& heads) {
    double least = INFINITY;
    for (int32_t k : heads) least = std::min(least, p.decay[k]);
    return least;
  };
  std::stable_sort(groups.begin(), groups.end(), [&](const auto& a, const auto& b) { return weakest(a) < weakest(b); });
  return std::make_unique<Apart>(p, groups);
}

}  // namespace

std::unique_ptr<Fit> make_together(const TlplatHeadProblem& p, const Lead& lead) {
  if (p.compute == TLPLAT_F64) return p.solver == TLPLAT_LBFGS ? make_lbfgs<double>(p, lead) : make_minibatch<double>(p);
  return p.solver == TLPLAT_LBFGS ? make_lbfgs<float>(p, lead) : make_minibatch<float>(p);
}

std::unique_ptr<Fit> make_apart(const TlplatHeadProblem& p) {
  if (p.heads < 2) return nullptr;
  if (p.path) return make_paths_apart(p);
  const bool steps = p.solver != TLPLAT_LBFGS;
  const int64_t storage = p.z_dtype == TLPLAT_F64 ? 8 : p.z_dtype == TLPLAT_F32 ? 4 : 2;
  const int64_t least = p.n * p.d * storage > kLargeBytes ? kLargeColumns : kLeastColumns;
  const int64_t arrays = p.solver == TLPLAT_ADAMW ? 4 : steps ? 3 : 8;
  const int64_t fits = std::max(kCacheBytes / (arrays * element(p) * std::max<int64_t>(p.d, 1)), least);
  const int64_t threads = std::max(p.threads, 1), all = p.heads * p.classes;
  // As many fits as keep all threads at work to the end, a few a thread where they are not too small for it.
  const int64_t wanted = std::clamp(all / (4 * threads), least, fits);
  const int64_t count = std::max<int64_t>((all + wanted / 2) / wanted / threads, 1) * threads;
  if (threads > 1 && (all / count < least / 2 || p.heads < count || (!steps && count < 2 * threads))) return nullptr;
  const int64_t each = (p.heads + count - 1) / count;

  std::vector<int32_t> order(size_t(p.heads));
  std::iota(order.begin(), order.end(), 0);
  std::vector<uint64_t> rows;
  for (int64_t k = 0; k < p.heads; ++k)
    rows.push_back(p.compute == TLPLAT_F64 ? pattern<double>(p, k) : pattern<float>(p, k));
  const auto seed = [&](int32_t k) { return steps ? p.seed[k] : 0; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) {
    if (seed(i) != seed(j)) return seed(i) < seed(j);
    if (rows[size_t(i)] != rows[size_t(j)]) return rows[size_t(i)] < rows[size_t(j)];
    return !steps && p.decay[i] < p.decay[j];
  });
  std::vector<std::vector<int32_t>> groups;
  for (int32_t k : order) {
    const bool next = groups.empty() || int64_t(groups.back().size()) >= each || seed(groups.back()[0]) != seed(k) ||
                      (rows[size_t(groups.back()[0])] != rows[size_t(k)] && 2 * int64_t(groups.back().size()) >= each);
    if (next) groups.emplace_back();
    groups.back().push_back(k);
  }
  if (groups.size() < 2) return nullptr;
  return std::make_unique<Apart>(p, groups);
}

}  // namespace tlplat
