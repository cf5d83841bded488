// Chooses how a pass runs, sizes its workspace and launches it. `Backend` launches kernels: on a stream (backend.cuh), or
// under the SIMT shim (simt/heads.cpp).
#pragma once
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "finish.h"
#include "pass.h"
#include "product.h"
#include "rowwise.h"

namespace tlplat {
namespace gpu {

struct Grid {
  int64_t x = 1, y = 1, z = 1;
};

// Whether a launch waits for the end of the one ahead, or may begin before and waits inside (after_previous).
enum class Start { kAfter, kEarly };

struct Limits {
  int sms = 1;               // multiprocessors
  int64_t shared = 48 << 10;  // bytes of shared memory that a block may ask for
  bool scalar = false;       // no tensor cores
  int64_t chunk_elements = int64_t(8) << 20;  // logits held at once, for many columns
};

// Hands out a workspace piece by piece; with a null base it only counts.
class Arena {
 public:
  explicit Arena(unsigned char* base = nullptr) : base_(base) {}
  template <class T>
  T* take(int64_t count) {
    const int64_t at = used_;
    used_ += (std::max<int64_t>(count, 1) * int64_t(sizeof(T)) + 255) / 256 * 256;
    return base_ ? reinterpret_cast<T*>(base_ + at) : nullptr;
  }
  int64_t used() const { return used_; }

 private:
  unsigned char* base_;
  int64_t used_ = 0;
};

template <int NT, int MT, int BLOCKS>
struct Variant {};

// Calls f(Variant<...>) of the first one-pass kernel with room for so many columns and features; false where there is none.
template <class F>
bool choose_variant(int64_t columns, int64_t d, F f) {
  const auto fits = [&](int nt, int mt) { return columns <= 8 * nt && d <= 128 * mt; };
  if (fits(2, 1)) return f(Variant<2, 1, 2>()), true;
  if (fits(2, 3)) return f(Variant<2, 3, 2>()), true;
  if (fits(2, 6)) return f(Variant<2, 6, 1>()), true;
  if (fits(2, 8)) return f(Variant<2, 8, 1>()), true;
  if (fits(4, 3)) return f(Variant<4, 3, 2>()), true;
  if (fits(4, 6)) return f(Variant<4, 6, 1>()), true;
  if (fits(4, 8)) return f(Variant<4, 8, 1>()), true;
  if (fits(8, 4)) return f(Variant<8, 4, 1>()), true;
  if (fits(13, 3)) return f(Variant<13, 3, 1>()), true;
  return false;
}

template <class T>
class Passes {
 public:
  // `rows`: the most rows of one pass; `usual`: of most passes. `groups`: heads by their order of rows.
  Passes(const Limits& limits, int64_t rows, int64_t usual, int64_t d, int64_t classes, const std::vector<Pack>& groups, bool backward)
      : limits_(limits), rows_(rows), usual_(usual), d_(d), classes_(classes), backward_(backward), packs_(groups) {
    for (const Pack& g : groups) heads_ = std::max<int64_t>(heads_, g.first + g.heads), widest_ = std::max(widest_, g.heads);
    small_ = sizeof(T) == 4 && plan_small();
    if (!small_) plan_large();
    if (int64_t(packs_.size()) * std::max<int64_t>(splits_, 8) > 65535 || heads_ > 65535) throw std::runtime_error("too many heads for one call");
  }

  bool small() const { return small_; }
  const std::vector<Pack>& packs() const { return packs_; }

  void place(Arena& arena) {
    table_ = arena.take<Pack>(int64_t(packs_.size()));
    partial_ = arena.take<T>(backward_ ? parts_ * heads_ * classes_ * d_ : 0);
    sums_ = arena.take<double>(parts_ * sums_width(heads_, classes_));
    if (!small_) logits_ = arena.take<T>(chunk_ * ld_);
  }

  // Copies the table of packs; once, before the first run.
  template <class Backend>
  void prepare(Backend& backend) {
    if (table()) backend.upload(table_, packs_.data(), packs_.size() * sizeof(Pack));
  }

  // How many parts a pass over `count` rows leaves in partial() and sums().
  int parts(int64_t count) const {
    return small_ ? int(std::min<int64_t>(parts_, std::max<int64_t>(row_tiles(count), 1))) : int(splits_);
  }
  int sms() const { return limits_.sms; }
  const T* partial() const { return partial_; }
  const double* sums() const { return sums_; }

  template <class Backend>
  void run(Backend& backend, Rows<T> rows, const T* w, const T* bias, const uint8_t* done, bool backward, T* row_loss,
           T* probability, Start start = Start::kAfter) {
    rows.aligned = can_read_four(rows), rows.classes = int32_t(classes_);
    if (small_) return run_small(backend, rows, w, bias, done, backward, row_loss, probability, start);
    if constexpr (sizeof(T) == 4)
      if (tensor()) return run_large<TensorTile>(backend, rows, w, bias, backward, row_loss, probability);
    run_large<ScalarTile<T>>(backend, rows, w, bias, backward, row_loss, probability);
  }

 private:
  // One head needs no table, and then no copy to the device.
  const Pack* table() const { return heads_ > 1 ? table_ : nullptr; }

  bool plan_small() {
    // Many heads go in packs of at most 32 columns, so that a few rows still occupy the device.
    pack_ = std::max<int64_t>(std::min<int64_t>(32 / classes_, widest_), 1);
    int64_t blocks = 0;
    const bool found = choose_variant(pack_ * classes_, d_, [&]<int NT, int MT, int B>(Variant<NT, MT, B>) {
      PassArgs<float> p{};
      p.classes = int32_t(classes_), p.pack = int32_t(pack_), p.rows.d = d_;
      const int64_t bytes = PassKernel<NT, MT, B>::shared_bytes(p);
      if (bytes <= limits_.shared) blocks = B * (bytes + 1024) <= limits_.shared + 1024 ? B : 1;
    });
    if (!found || !blocks) return false;
    std::vector<Pack> packs;
    for (const Pack& g : packs_)
      for (int32_t h = 0; h < g.heads; h += int32_t(pack_))
        packs.push_back({g.first + h, std::min<int32_t>(int32_t(pack_), g.heads - h), g.order});
    packs_ = packs;
    parts_ = std::clamp<int64_t>(limits_.sms * blocks / int64_t(packs_.size()), 1, std::max<int64_t>(row_tiles(rows_), 1));
    return true;
  }

  static int64_t row_tiles(int64_t rows) { return (rows + kPassRows - 1) / kPassRows; }

  void plan_large() {
    ld_ = (sums_width(heads_, classes_) + 3) / 4 * 4;
    const int64_t size = tile_size();
    chunk_ = std::clamp<int64_t>(limits_.chunk_elements / ld_ / size * size, size, std::max<int64_t>(rows_, 1));
    int64_t tiles = 0;
    for (const Pack& g : packs_) tiles += tiles_of(g.heads * classes_, size) * tiles_of(d_, size);
    const int64_t useful = std::max<int64_t>(std::min(chunk_, usual_) / 128, 1);
    double best = 0;
    for (int64_t s = 1; s <= std::min<int64_t>(useful, 32); ++s) {
      const int64_t blocks = tiles * s, waves = (blocks + limits_.sms - 1) / limits_.sms;
      const double busy = double(blocks) / double(waves * limits_.sms);  // of the device's time
      if (busy > best + 0.05) best = busy, splits_ = s;
    }
    parts_ = splits_;
  }

  // Blocks that share the depth of a tile of logits where `tiles` of them leave the device idle; their parts fit the buffer.
  int64_t slices(int64_t tiles, int64_t count) const {
    const int64_t most = std::min<int64_t>({chunk_ / std::max<int64_t>(count, 1), d_ / 128, 8});
    return std::clamp<int64_t>(limits_.sms / tiles, 1, std::max<int64_t>(most, 1));
  }

  bool tensor() const { return sizeof(T) == 4 && !limits_.scalar; }
  int64_t tile_size() const { return tensor() ? TensorTile::kSize : ScalarTile<T>::kSize; }
  static int64_t tiles_of(int64_t n, int64_t size) { return std::max<int64_t>((n + size - 1) / size, 1); }

  template <class Backend>
  void run_small(Backend& backend, const Rows<T>& rows, const T* w, const T* bias, const uint8_t* done, bool backward,
                 T* row_loss, T* probability, Start start) {
    if constexpr (sizeof(T) == 4) {
      const PassArgs<T> p{rows, w, bias, int32_t(classes_), int32_t(heads_), table(), done,
                          backward ? partial_ : nullptr, probability ? nullptr : sums_, row_loss, probability, int32_t(pack_)};
      const Grid grid{parts(rows.end - rows.begin), int64_t(packs_.size()), 1};
      choose_variant(pack_ * classes_, d_, [&]<int NT, int MT, int B>(Variant<NT, MT, B>) {
        backend.template launch<PassKernel<NT, MT, B>>(grid, PassKernel<NT, MT, B>::kMaxThreads, p, start);
      });
    }
  }

  template <class Tile, class Backend>
  void run_large(Backend& backend, Rows<T> rows, const T* w, const T* bias, bool backward, T* row_loss, T* probability) {
    constexpr int kSize = Tile::kSize;
    const int64_t end = rows.end, groups = int64_t(packs_.size()), columns = tiles_of(widest_ * classes_, kSize);
    int32_t later = 0;
    do {
      rows.end = std::min(rows.begin + chunk_, end);
      const int64_t count = rows.end - rows.begin, row_tiles = tiles_of(count, kSize);
      const int64_t parts = slices(columns * row_tiles * groups, count);
      const ProductArgs<T> product{rows, w, bias, table(), int32_t(classes_), int32_t(heads_), int32_t(splits_),
                                   logits_, ld_, int32_t(parts), partial_, later};
      const RowwiseArgs<T> rowwise{rows, table(), int32_t(classes_), int32_t(heads_), int32_t(splits_),
                                   logits_, ld_, int32_t(parts), sums_, later, row_loss, probability};
      if (count > 0) {
        backend.template launch<LogitsKernel<Tile>>({columns, row_tiles, groups * parts}, Tile::kThreads, product);
        if (classes_ < 256 || count * heads_ > 16 * limits_.sms)  // enough rows to occupy the device with a warp each
          backend.template launch<SoftmaxKernel<T, 1>>({(count + 3) / 4, heads_, 1}, 128, rowwise);
        else
          backend.template launch<SoftmaxKernel<T, 4>>({count, heads_, 1}, 128, rowwise);
      }
      if (!probability) {
        const int64_t width = sums_width(heads_, classes_);
        backend.template launch<ColumnSumsKernel<T>>({(width + 31) / 32, splits_, 1}, ColumnSumsKernel<T>::kMaxThreads, rowwise);
      }
      if (backward)
        backend.template launch<GradientKernel<Tile>>({tiles_of(d_, kSize), columns, groups * splits_}, Tile::kThreads, product);
      later = 1;
      rows.begin = rows.end;
    } while (rows.begin < end);
  }

  Limits limits_;
  int64_t rows_, usual_, d_, classes_, heads_ = 0;
  bool backward_, small_ = false;
  std::vector<Pack> packs_;
  int32_t widest_ = 0;
  int64_t pack_ = 1, parts_ = 1, splits_ = 1, chunk_ = 0, ld_ = 0;
  Pack* table_ = nullptr;
  T *partial_ = nullptr, *logits_ = nullptr;
  double* sums_ = nullptr;
};

// softmax_head_loss and softmax_head_predict for one head: place in an arena, then run.
template <class T>
class OneHead {
 public:
  OneHead(const Limits& limits, const Rows<T>& rows, int64_t classes, bool backward)
      : rows_(rows), classes_(classes), backward_(backward), passes_(limits, rows.n, rows.n, rows.d, classes, {{0, 1, 0}}, backward) {
    rows_.begin = 0, rows_.end = rows.n;
  }

  int64_t bytes() {
    Arena arena;
    passes_.place(arena);
    return arena.used();
  }

  // reduction: 0 none (loss is (n,)), 1 mean, 2 sum. The gradients are those of the reduced loss, of its sum for none.
  template <class Backend>
  void loss(Backend& backend, unsigned char* workspace, const T* w, const T* bias, int64_t reduction, T* loss, T* grad_w,
            T* grad_b) {
    Arena arena(workspace);
    passes_.place(arena);
    passes_.prepare(backend);
    passes_.run(backend, rows_, w, bias, nullptr, backward_, reduction == 0 ? loss : nullptr, static_cast<T*>(nullptr));
    const int parts = passes_.parts(rows_.n);
    const int64_t size = backward_ ? classes_ * rows_.d : 1;
    const FoldPlan plan(parts, size, 1, passes_.sms());
    const LossArgs<T> p{backward_ ? passes_.partial() : nullptr, passes_.sums(), parts, int32_t(classes_), reduction == 1, plan.lanes,
                        rows_.d, reduction == 0 ? nullptr : loss, backward_ ? grad_w : nullptr, backward_ ? grad_b : nullptr};
    backend.template launch<LossKernel<T>>({plan.blocks, 1, 1}, kFoldThreads, p);
  }

  template <class Backend>
  void predict(Backend& backend, unsigned char* workspace, const T* w, const T* bias, T* probability) {
    Arena arena(workspace);
    passes_.place(arena);
    passes_.prepare(backend);
    if (rows_.n) passes_.run(backend, rows_, w, bias, nullptr, false, nullptr, probability);
  }

 private:
  Rows<T> rows_;
  int64_t classes_;
  bool backward_;
  Passes<T> passes_;
};

}  // namespace gpu
}  // namespace tlplat
