// The two matrix products of a pass with many columns, over a chunk of rows whose logits are held: logits = z W^T + b, and
// the gradient of the weights = delta^T z. Tiles of tile.h, operands staged twice in shared memory.
#pragma once
#include "pass.h"

namespace tlplat {
namespace gpu {

template <class T>
struct ProductArgs {
  Rows<T> rows;           // begin ... end: the chunk
  const T* w;             // (heads * classes, d)
  const T* bias;          // (heads * classes,) or null
  const Pack* packs;      // the heads of each group; null: head 0 alone
  int32_t classes, heads, splits;
  T* logits;              // (slices, rows, ld): parts of the logits; then their gradient in place of the first
  int64_t ld;
  int32_t slices;         // blocks that share the depth of a tile of logits
  T* partial;             // (splits, heads * classes, d)
  int32_t accumulate;     // the first chunk sets partial, later ones add to it
};

// Four elements that lie together, at once where the place allows.
template <class T>
TLPLAT_DEVICE void read4(const T* from, bool aligned, int64_t left, T* out) {
  if constexpr (sizeof(T) == 4) {
    if (aligned && left >= 4) {
      const Four four = *reinterpret_cast<const Four*>(from);
      TLPLAT_UNROLL
      for (int e = 0; e < 4; ++e) out[e] = four.v[e];
      return;
    }
  }
  TLPLAT_UNROLL
  for (int e = 0; e < 4; ++e) out[e] = e < left ? from[e] : T(0);
}

template <class Tile>
struct Staging {
  using T = typename Tile::Value;
  // Elements of one operand in one stage. Both layouts, kSize rows of kDepth + 4 and kDepth rows of kSize + 8, are free of bank
  // conflicts where a fragment is read.
  static constexpr int kOperand = Tile::kSize * (kDepth + 4), kFours = Tile::kSize * kDepth / 4 / Tile::kThreads;
  static_assert(kDepth * (Tile::kSize + 8) <= kOperand);
  static constexpr int kStage = 2 * Tile::kPlanes * kOperand;  // both operands
  static constexpr int64_t kBytes = 2 * kStage * int64_t(sizeof(T));

  // The places of this thread's four number i: along k where k is contiguous in memory, else along m.
  template <bool AlongK>
  static TLPLAT_DEVICE int place_m(int i) {
    const int at = tid() + i * Tile::kThreads;
    return AlongK ? at / (kDepth / 4) : at % (Tile::kSize / 4) * 4;
  }
  template <bool AlongK>
  static TLPLAT_DEVICE int place_k(int i) {
    const int at = tid() + i * Tile::kThreads;
    return AlongK ? at % (kDepth / 4) * 4 : at / (Tile::kSize / 4);
  }

  // Runs over the depth [0, depth) with loaders f(number of the four, m, k, out); two stages, one barrier a step.
  template <bool AlongK, class LoadA, class LoadB>
  static TLPLAT_DEVICE void multiply(
      Tile& tile, unsigned char* shared, int64_t depth, LoadA load_a, LoadB load_b) {
    constexpr int SM = AlongK ? kDepth + 4 : 1, SK = AlongK ? 1 : Tile::kSize + 8;
    T* stage = reinterpret_cast<T*>(shared);
    T a[kFours][4], b[kFours][4];
    const int64_t steps = (depth + kDepth - 1) / kDepth;
    for (int64_t step = 0; step <= steps; ++step) {
      if (step < steps) {
        TLPLAT_UNROLL
        for (int i = 0; i < kFours; ++i) {
          const int m = place_m<AlongK>(i);
          const int64_t k = step * kDepth + place_k<AlongK>(i);
          load_a(i, m, k, a[i]);
          load_b(i, m, k, b[i]);
        }
      }
      if (step > 0) {
        const T* now = stage + (step - 1) % 2 * kStage;
        tile.template multiply<SM, SK>(now, now + Tile::kPlanes * kOperand, kOperand);
      }
      if (step == steps) break;
      T* next = stage + step % 2 * kStage;
      TLPLAT_UNROLL
      for (int i = 0; i < kFours; ++i) {
        const int at = place_m<AlongK>(i) * SM + place_k<AlongK>(i) * SK;
        Tile::store(next + at, kOperand, a[i]);
        Tile::store(next + Tile::kPlanes * kOperand + at, kOperand, b[i]);
      }
      TLPLAT_SYNC(product_stage);
    }
  }
};

// Grid: (tiles of columns of a group, tiles of rows, groups * slices).
template <class Tile>
struct LogitsKernel {
  using T = typename Tile::Value;
  static constexpr int kMaxThreads = Tile::kThreads, kSize = Tile::kSize;

  static int64_t shared_bytes(const ProductArgs<T>&) { return Staging<Tile>::kBytes; }

  static TLPLAT_DEVICE void run(const ProductArgs<T>& p, unsigned char* shared) {
    const int slice = block_z() % p.slices;
    const Pack pack = pack_at(p.packs, block_z() / p.slices);
    const int64_t columns = int64_t(pack.heads) * p.classes, column0 = int64_t(block_x()) * kSize;
    if (column0 >= columns) return;
    const int64_t first = int64_t(pack.first) * p.classes, row0 = int64_t(block_y()) * kSize, d = p.rows.d;
    const int64_t count = p.rows.end - p.rows.begin;
    const int64_t each = ((d + p.slices - 1) / p.slices + kDepth - 1) / kDepth * kDepth;
    const int64_t begin = slice * each < d ? slice * each : d, depth = each < d - begin ? each : d - begin;
    int64_t row[Staging<Tile>::kFours];  // of z, -1 past the end
    TLPLAT_UNROLL
    for (int i = 0; i < Staging<Tile>::kFours; ++i) {
      const int64_t at = row0 + Staging<Tile>::template place_m<true>(i);
      row[i] = at < count ? row_at(p.rows, pack.order, p.rows.begin + at) : -1;
    }
    const T* w = p.w + (first + column0) * d;
    const bool aligned = d % 4 == 0 && reinterpret_cast<uintptr_t>(p.w) % 16 == 0;
    Tile tile;
    Staging<Tile>::template multiply<true>(
        tile, shared, depth,
        [&](int i, int, int64_t k, T* out) {
          if (row[i] >= 0 && k < depth) {
            load4(p.rows, row[i], begin + k, out);
          } else {
            for (int e = 0; e < 4; ++e) out[e] = 0;
          }
        },
        [&](int, int n, int64_t k, T* out) { read4(w + n * d + begin + k, aligned, column0 + n < columns ? d - begin - k : 0, out); });
    T* logits = p.logits + slice * count * p.ld;
    tile.each([&](int m, int n, T value) {
      const int64_t at = row0 + m, column = first + column0 + n;
      if (at < count && column0 + n < columns) logits[at * p.ld + column] = value + (p.bias && !slice ? p.bias[column] : T(0));
    });
  }
};

// Grid: (tiles of d, tiles of columns of a group, groups * splits); a split owns a range of the chunk's rows.
template <class Tile>
struct GradientKernel {
  using T = typename Tile::Value;
  static constexpr int kMaxThreads = Tile::kThreads, kSize = Tile::kSize;

  static int64_t shared_bytes(const ProductArgs<T>&) { return Staging<Tile>::kBytes; }

  static TLPLAT_DEVICE void run(const ProductArgs<T>& p, unsigned char* shared) {
    const int split = block_z() % p.splits;
    const Pack pack = pack_at(p.packs, block_z() / p.splits);
    const int64_t columns = int64_t(pack.heads) * p.classes, column0 = int64_t(block_y()) * kSize;
    if (column0 >= columns) return;
    const int64_t first = int64_t(pack.first) * p.classes, j0 = int64_t(block_x()) * kSize, d = p.rows.d;
    const int64_t count = p.rows.end - p.rows.begin, each = (count + p.splits - 1) / p.splits;
    const int64_t begin = split * each < count ? split * each : count, depth = each < count - begin ? each : count - begin;
    const T* delta = p.logits + begin * p.ld + first + column0;
    const bool aligned = first % 4 == 0;
    int64_t row[Staging<Tile>::kFours];  // of z, of the next step: a row's number is asked for a step ahead
    const auto row_of = [&](int64_t k) { return k < depth ? row_at(p.rows, pack.order, p.rows.begin + begin + k) : -1; };
    TLPLAT_UNROLL
    for (int i = 0; i < Staging<Tile>::kFours; ++i) row[i] = row_of(Staging<Tile>::template place_k<false>(i));
    Tile tile;
    Staging<Tile>::template multiply<false>(
        tile, shared, depth,
        [&](int, int m, int64_t k, T* out) { read4(delta + k * p.ld + m, aligned, k < depth ? columns - column0 - m : 0, out); },
        [&](int i, int n, int64_t k, T* out) {
          if (row[i] >= 0 && j0 + n < d) {
            load4(p.rows, row[i], j0 + n, out);
          } else {
            for (int e = 0; e < 4; ++e) out[e] = 0;
          }
          row[i] = row_of(k + kDepth);
        });
    tile.each([&](int m, int n, T value) {
      if (column0 + m >= columns || j0 + n >= d) return;
      T* to = p.partial + (split * int64_t(p.heads) * p.classes + first + column0 + m) * d + j0 + n;
      *to = p.accumulate ? *to + value : value;
    });
  }
};

}  // namespace gpu
}  // namespace tlplat
