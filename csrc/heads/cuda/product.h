// The two matrix products of a pass with many columns, over a chunk of rows whose logits are held: logits = z W^T + b, and
// the gradient of the weights = delta^T z. Tiles of 64 x 64 (tile.h), operands staged twice in shared memory.
#pragma once
#include "pass.h"
#include "tile.h"

namespace tlplat {
namespace gpu {

template <class T>
struct ProductArgs {
  Rows<T> rows;           // begin ... end: the chunk
  const T* w;             // (heads * classes, d)
  const T* bias;          // (heads * classes,) or null
  const Pack* packs;      // the heads of each group; null: head 0 alone
  int32_t classes, heads, splits;
  T* logits;              // (chunk, ld): logits, then their gradient in place
  int64_t ld;
  T* partial;             // (splits, heads * classes, d)
  int32_t accumulate;     // the first chunk sets partial, later ones add to it
};

// Elements of one operand in one stage. Both layouts, 64 rows of 16 + 4 and 16 rows of 64 + 8, are free of bank conflicts
// where a fragment is read.
constexpr int kOperand = kTile * (kDepth + 4);
static_assert(kDepth * (kTile + 8) <= kOperand);

// Runs the product's depth [0, depth) with loaders fill(stage registers, at) and store; two stages, one barrier a step.
template <class Tile, int SM, int SK, class LoadA, class LoadB>
TLPLAT_DEVICE void multiply_staged(Tile& tile, unsigned char* shared, int64_t depth, LoadA load_a, LoadB load_b) {
  using T = typename Tile::Value;
  T* stage = reinterpret_cast<T*>(shared);
  // A thread moves two fours of each operand a step: along k where k is contiguous in memory, else along m.
  constexpr bool kAlongK = SK == 1;
  T a[2][4], b[2][4];
  const int64_t steps = (depth + kDepth - 1) / kDepth;
  for (int64_t step = 0; step <= steps; ++step) {
    if (step < steps) {
      TLPLAT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int fast = kAlongK ? tid() % 4 * 4 : tid() % 16 * 4, slow = kAlongK ? tid() / 4 + 32 * i : tid() / 16 + 8 * i;
        load_a(kAlongK ? slow : fast, step * kDepth + (kAlongK ? fast : slow), a[i]);
        load_b(kAlongK ? slow : fast, step * kDepth + (kAlongK ? fast : slow), b[i]);
      }
    }
    if (step > 0) {
      const T* now = stage + (step - 1) % 2 * 2 * kOperand;
      tile.template multiply<SM, SK>(now, now + kOperand);
    }
    if (step == steps) break;
    T* next = stage + step % 2 * 2 * kOperand;
    TLPLAT_UNROLL
    for (int i = 0; i < 2; ++i)
      TLPLAT_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int m = kAlongK ? tid() / 4 + 32 * i : tid() % 16 * 4 + e, k = kAlongK ? tid() % 4 * 4 + e : tid() / 16 + 8 * i;
        next[m * SM + k * SK] = a[i][e];
        next[kOperand + m * SM + k * SK] = b[i][e];
      }
    TLPLAT_SYNC(product_stage);
  }
}

// Grid: (tiles of columns of a group, tiles of rows, groups).
template <class Tile>
struct LogitsKernel {
  using T = typename Tile::Value;
  static constexpr int kMaxThreads = kTileThreads;

  static int64_t shared_bytes(const ProductArgs<T>&) { return 4 * kOperand * int64_t(sizeof(T)); }

  static TLPLAT_DEVICE void run(const ProductArgs<T>& p, unsigned char* shared) {
    const Pack pack = pack_at(p.packs, block_z());
    const int64_t columns = int64_t(pack.heads) * p.classes, column0 = int64_t(block_x()) * kTile;
    if (column0 >= columns) return;
    const int64_t first = int64_t(pack.first) * p.classes, row0 = int64_t(block_y()) * kTile, d = p.rows.d;
    const int64_t count = p.rows.end - p.rows.begin;
    const int group = pack.order;
    Tile tile;
    multiply_staged<Tile, kDepth + 4, 1>(
        tile, shared, d,
        [&](int m, int64_t k, T* out) {
          const bool there = row0 + m < count;
          if (there) load4(p.rows, row_at(p.rows, group, p.rows.begin + row0 + m), k, out);
          for (int e = 0; !there && e < 4; ++e) out[e] = 0;
        },
        [&](int n, int64_t k, T* out) {
          const T* w = p.w + (first + column0 + n) * d + k;
          for (int e = 0; e < 4; ++e) out[e] = column0 + n < columns && k + e < d ? w[e] : T(0);
        });
    tile.each([&](int m, int n, T value) {
      const int64_t row = row0 + m, column = first + column0 + n;
      if (row < count && column0 + n < columns) p.logits[row * p.ld + column] = value + (p.bias ? p.bias[column] : T(0));
    });
  }
};

// Grid: (tiles of d, tiles of columns of a group, groups * splits); a split owns a range of the chunk's rows.
template <class Tile>
struct GradientKernel {
  using T = typename Tile::Value;
  static constexpr int kMaxThreads = kTileThreads;

  static int64_t shared_bytes(const ProductArgs<T>&) { return 4 * kOperand * int64_t(sizeof(T)); }

  static TLPLAT_DEVICE void run(const ProductArgs<T>& p, unsigned char* shared) {
    const int split = block_z() % p.splits;
    const Pack pack = pack_at(p.packs, block_z() / p.splits);
    const int64_t columns = int64_t(pack.heads) * p.classes, column0 = int64_t(block_y()) * kTile;
    if (column0 >= columns) return;
    const int64_t first = int64_t(pack.first) * p.classes, j0 = int64_t(block_x()) * kTile, d = p.rows.d;
    const int64_t count = p.rows.end - p.rows.begin, each = (count + p.splits - 1) / p.splits;
    const int64_t begin = split * each < count ? split * each : count, depth = each < count - begin ? each : count - begin;
    const int group = pack.order;
    Tile tile;
    multiply_staged<Tile, 1, kTile + 8>(
        tile, shared, depth,
        [&](int m, int64_t k, T* out) {
          const T* delta = p.logits + (begin + k) * p.ld + first + column0 + m;
          for (int e = 0; e < 4; ++e) out[e] = k < depth && column0 + m + e < columns ? delta[e] : T(0);
        },
        [&](int n, int64_t k, T* out) {
          if (k < depth && j0 + n < d) {
            load4(p.rows, row_at(p.rows, group, p.rows.begin + begin + k), j0 + n, out);
          } else {
            for (int e = 0; e < 4; ++e) out[e] = 0;
          }
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
