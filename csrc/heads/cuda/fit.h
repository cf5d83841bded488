// The fitting loop of many heads on a device: launches of an epoch (or of an evaluation of L-BFGS) recorded once as a graph
// and replayed. The host only looks now and then how many heads are still at work.
#pragma once
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>

#include "fit_problem.h"
#include "lbfgs.h"
#include "passes.h"
#include "shuffle.h"
#include "step.h"

namespace tlplat {
namespace gpu {

class Fit {
 public:
  virtual ~Fit() = default;
  // Goes on for about `seconds`, or `rounds` (epochs, or evaluations of L-BFGS), whatever comes first; true when finished.
  virtual bool run(double seconds, int64_t rounds) = 0;
  // Fills the problem's output arrays, on the device and on the host.
  virtual void result() = 0;
};

template <class T, class Backend>
class HeadsFit final : public Fit {
 public:
  // With a null workspace only bytes() may be called.
  HeadsFit(Backend& backend, const Limits& limits, const TlplatCudaFit& p, unsigned char* workspace)
      : backend_(backend), p_(p), lbfgs_(p.solver == TLPLAT_LBFGS), rows_(), held_(),
        passes_(limits, p.n, p.solver == TLPLAT_LBFGS ? p.n : p.batch_size, p.d, p.classes, groups(p), true) {
    rows_.z = p.z, rows_.n = p.n, rows_.d = p.d, rows_.z_stride = p.z_stride, rows_.z_dtype = p.z_dtype;
    rows_.y = p.y, rows_.ignore_index = p.ignore_index, rows_.smoothing = T(p.smoothing);
    rows_.class_weight = static_cast<const T*>(p.class_weight);
    rows_.begin = 0, rows_.end = p.n;
    held_ = rows_;
    rows_.weight = static_cast<const T*>(p.row_weight), rows_.weight_stride = p.row_weight_stride;
    held_.weight = static_cast<const T*>(p.held_weight), held_.weight_stride = p.held_weight_stride, held_.plain = 1;
    batches_ = lbfgs_ ? 1 : (p.n + p.batch_size - 1) / p.batch_size;
    place(workspace);
    if (workspace) begin();
  }

  int64_t bytes() const { return bytes_; }

  bool run(double seconds, int64_t rounds) override {
    const auto start = std::chrono::steady_clock::now();
    const auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
    // Looks twice as seldom as long as that takes no more than some milliseconds: a look waits for the device.
    for (int64_t done = 0, many = 1; active_ > 0 && done < rounds && spent() < seconds; many = spent() < 0.01 ? 2 * many : many) {
      const int64_t left = lbfgs_ ? rounds - done : std::min(rounds - done, p_.max_iter - epoch_);
      const int64_t now = std::min(many, left);
      for (int64_t i = 0; i < now; ++i) graph_();
      done += now, epoch_ += now;
      backend_.download(&active_, count_, sizeof active_);
      if (!lbfgs_ && epoch_ >= p_.max_iter) active_ = 0;
    }
    return active_ == 0;
  }

  void result() override {
    std::vector<HeadReport> report(size_t(p_.heads));
    if (lbfgs_) {
      const UnpackArgs<T> x{vectors_, int32_t(p_.classes), p_.d, out_w(), out_b()};
      backend_.template launch<UnpackKernel<T>>({p_.heads, 1, 1}, 256, x);
      if (held_.weight) {
        passes_.run(backend_, held_, out_w(), out_b(), nullptr, false, nullptr, static_cast<T*>(nullptr));
        const HeldArgs<T> h{passes_.sums(), passes_.parts(p_.n), int32_t(p_.classes), int32_t(p_.heads), report_};
        backend_.template launch<HeldKernel<T>>({p_.heads, 1, 1}, 32, h);
      }
      std::vector<LineSearch> search(size_t(p_.heads));
      backend_.download(search.data(), search_, search.size() * sizeof(LineSearch));
      for (size_t k = 0; k < search.size(); ++k) p_.converged[k] = search[k].converged;
    }
    backend_.download(report.data(), report_, report.size() * sizeof(HeadReport));
    for (size_t k = 0; k < report.size(); ++k) {
      p_.loss[k] = report[k].loss, p_.held_loss[k] = report[k].held, p_.iterations[k] = report[k].iterations;
      if (!lbfgs_) p_.converged[k] = std::isfinite(report[k].loss);
    }
  }

 private:
  // Heads of one seed are neighbours; L-BFGS has one group and no order.
  static std::vector<Pack> groups(const TlplatCudaFit& p) {
    if (p.solver == TLPLAT_LBFGS) return {{0, int32_t(p.heads), 0}};
    std::vector<Pack> groups;
    for (int32_t k = 0; k < p.heads; ++k) {
      if (k == 0 || p.seed[k] != p.seed[k - 1]) groups.push_back({k, 0, int32_t(groups.size())});
      ++groups.back().heads;
    }
    return groups;
  }

  T* out_w() const { return static_cast<T*>(p_.weight); }
  T* out_b() const { return static_cast<T*>(p_.bias); }
  FoldPlan plan(int parts) const { return FoldPlan(parts, p_.classes * p_.d, p_.heads, passes_.sms()); }
  int64_t most_blocks() const { return FoldPlan::most_blocks(p_.heads, passes_.sms()); }

  void place(unsigned char* workspace) {
    Arena arena(workspace);
    const int64_t k = p_.heads, m = k * p_.classes;
    passes_.place(arena);
    w_ = arena.take<T>(m * p_.d), bias_ = arena.take<T>(m);
    done_ = arena.take<uint8_t>(k), kept_heads_ = arena.take<uint8_t>(k), report_ = arena.take<HeadReport>(k);
    decay_ = arena.take<double>(k), rate_ = arena.take<double>(k), count_ = arena.take<int64_t>(1), turn_ = arena.take<int64_t>(1);
    if (lbfgs_) {
      search_ = arena.take<LineSearch>(k);
      vectors_ = arena.take<T>(m * (p_.d + 1) * kVectors);
    } else {
      const int64_t orders = int64_t(groups(p_).size());
      first_ = arena.take<T>(m * p_.d), first_b_ = arena.take<T>(m);
      second_ = arena.take<T>(p_.solver == TLPLAT_ADAMW ? m * p_.d : 0), second_b_ = arena.take<T>(m);
      spent_ = arena.take<double>(k * most_blocks());
      segments_ = std::clamp<int64_t>(p_.n / 512, 1, 256);
      seed_ = arena.take<int64_t>(orders), order_ = arena.take<int32_t>(orders * p_.n);
      kept_ = arena.take<int32_t>(orders * segments_);
    }
    bytes_ = arena.used();
  }

  void begin() {
    const int64_t k = p_.heads, m = k * p_.classes;
    passes_.prepare(backend_);
    backend_.copy(w_, p_.weight, m * p_.d * int64_t(sizeof(T)));
    backend_.copy(bias_, p_.bias, m * int64_t(sizeof(T)));
    backend_.zero(done_, k), backend_.zero(turn_, 8);
    const std::vector<HeadReport> report(size_t(k), HeadReport{NAN, NAN, 0, 0});
    backend_.upload(report_, report.data(), report.size() * sizeof(HeadReport));
    backend_.upload(decay_, p_.decay, size_t(k) * 8);
    active_ = k;
    if (lbfgs_) {
      backend_.zero(search_, k * int64_t(sizeof(LineSearch)));
      backend_.zero(vectors_, m * (p_.d + 1) * kVectors * int64_t(sizeof(T)));
      graph_ = backend_.record(6, [this] { evaluation(); });
      return;
    }
    std::vector<int64_t> seeds;
    for (const Pack& g : groups(p_)) seeds.push_back(p_.seed[g.first]);
    backend_.upload(seed_, seeds.data(), seeds.size() * 8);
    backend_.upload(rate_, p_.rate, size_t(k) * 8);
    backend_.zero(first_, m * p_.d * int64_t(sizeof(T))), backend_.zero(first_b_, m * int64_t(sizeof(T)));
    if (p_.solver == TLPLAT_ADAMW) backend_.zero(second_, m * p_.d * int64_t(sizeof(T)));
    backend_.zero(second_b_, m * int64_t(sizeof(T)));
    backend_.zero(spent_, k * most_blocks() * 8);
    graph_ = backend_.record(batches_ * (passes_.small() ? 2 : 5), [this] { epoch(); });
  }

  void tick() {
    backend_.template launch<TickKernel>({1, 1, 1}, p_.heads > 64 ? 256 : 64, TickArgs{turn_, done_, int32_t(p_.heads), count_});
  }

  void evaluation() {
    passes_.run(backend_, rows_, w_, bias_, done_, true, nullptr, static_cast<T*>(nullptr));
    const int parts = passes_.parts(p_.n);
    const FoldPlan folding = plan(parts);
    const LbfgsArgs<T> p{passes_.partial(), passes_.sums(), parts, int32_t(p_.classes), int32_t(p_.heads), folding.lanes, p_.d, p_.max_iter,
                         p_.tol, double(std::numeric_limits<T>::epsilon()), decay_, done_, search_, report_, w_, bias_, vectors_};
    backend_.template launch<LbfgsGradientKernel<T>>({folding.blocks, p_.heads, 1}, kFoldThreads, p);
    backend_.template launch<LbfgsKernel<T>>({p_.heads, 1, 1}, int(std::clamp<int64_t>(p_.d * p_.classes / 128 * 32, 64, 1024)), p);
    tick();
  }

  void epoch() {
    const OrderArgs order{seed_, turn_, p_.n, kept_, order_, int32_t(segments_)};
    const Grid segments{segments_, int64_t(groups(p_).size()), 1};
    backend_.template launch<OrderCountKernel>(segments, kOrderThreads, order);
    backend_.template launch<OrderWriteKernel>(segments, kOrderThreads, order);
    Rows<T> rows = rows_;
    rows.order = order_;
    for (int64_t i = 0; i < batches_; ++i) {
      rows.begin = i * p_.batch_size, rows.end = std::min(rows.begin + p_.batch_size, p_.n);
      // Orders, labels and rows stay as they are during an epoch: a pass fetches them while the step ahead of it runs.
      passes_.run(backend_, rows, w_, bias_, done_, true, nullptr, static_cast<T*>(nullptr), i ? Start::kEarly : Start::kAfter);
      const int parts = passes_.parts(rows.end - rows.begin);
      const FoldPlan folding = plan(parts);
      const StepArgs<T> p{passes_.partial(), passes_.sums(), parts, int32_t(p_.classes), int32_t(p_.heads), folding.lanes,
                          p_.solver == TLPLAT_ADAMW, p_.cosine, p_.d, i, batches_, p_.max_iter, turn_, done_, decay_, rate_,
                          p_.momentum, p_.beta1, p_.beta2, p_.eps, w_, bias_, first_, second_, first_b_, second_b_, spent_,
                          int32_t(most_blocks())};
      backend_.template launch<StepKernel<T>>({folding.blocks, p_.heads, 1}, kFoldThreads, p, Start::kEarly);
    }
    if (held_.weight) passes_.run(backend_, held_, w_, bias_, done_, false, nullptr, static_cast<T*>(nullptr));
    const EpochArgs<T> p{held_.weight ? passes_.sums() : nullptr, passes_.parts(p_.n), int32_t(p_.classes), int32_t(p_.heads),
                         int32_t(most_blocks()), batches_, p_.patience, spent_, done_, report_, kept_heads_};
    backend_.template launch<EpochKernel<T>>({p_.heads, 1, 1}, 256, p);
    const KeepArgs<T> keep{kept_heads_, int32_t(p_.classes), p_.d, w_, bias_, out_w(), out_b()};
    const int64_t size = (p_.classes * p_.d + 255) / 256;
    backend_.template launch<KeepKernel<T>>({std::clamp<int64_t>(size, 1, most_blocks()), p_.heads, 1}, 256, keep);
    tick();
  }

  Backend& backend_;
  const TlplatCudaFit p_;
  const bool lbfgs_;
  Rows<T> rows_, held_;
  Passes<T> passes_;
  int64_t batches_ = 1, epoch_ = 0, active_ = 0, bytes_ = 0, segments_ = 1;
  T *w_ = nullptr, *bias_ = nullptr, *first_ = nullptr, *first_b_ = nullptr, *second_ = nullptr, *second_b_ = nullptr;
  T* vectors_ = nullptr;
  uint8_t *done_ = nullptr, *kept_heads_ = nullptr;
  HeadReport* report_ = nullptr;
  LineSearch* search_ = nullptr;
  double *decay_ = nullptr, *rate_ = nullptr, *spent_ = nullptr;
  int64_t *count_ = nullptr, *turn_ = nullptr, *seed_ = nullptr;
  int32_t *order_ = nullptr, *kept_ = nullptr;
  typename Backend::Graph graph_;
};

template <class Backend>
std::unique_ptr<Fit> make_fit(Backend& backend, const Limits& limits, const TlplatCudaFit& p, unsigned char* workspace) {
  if (p.compute == TLPLAT_F64) return std::make_unique<HeadsFit<double, Backend>>(backend, limits, p, workspace);
  return std::make_unique<HeadsFit<float, Backend>>(backend, limits, p, workspace);
}

template <class Backend>
int64_t fit_bytes(Backend& backend, const Limits& limits, const TlplatCudaFit& p) {
  if (p.compute == TLPLAT_F64) return HeadsFit<double, Backend>(backend, limits, p, nullptr).bytes();
  return HeadsFit<float, Backend>(backend, limits, p, nullptr).bytes();
}

}  // namespace gpu
}  // namespace tlplat
