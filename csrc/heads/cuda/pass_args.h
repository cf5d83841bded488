// What a pass for few columns (pass.h) reads and writes, and how a block lays out its shared memory.
#pragma once
#include "rows.h"

namespace tlplat {
namespace gpu {

// Heads [first, first + heads) walk over the rows in the order `order`.
struct Pack {
  int32_t first, heads, order;
};

TLPLAT_DEVICE Pack pack_at(const Pack* packs, int i) { return packs ? packs[i] : Pack{0, 1, 0}; }

// What a pass reads and writes; `block` counts the blocks that share the rows.
template <class T>
struct PassArgs {
  Rows<T> rows;
  const T* w;             // (heads * classes, d)
  const T* bias;          // (heads * classes,) or null
  int32_t classes, heads;
  const Pack* packs;      // the heads of each block; null: head 0 alone
  const uint8_t* done;    // (heads,) heads that are left out, or null
  T* partial;             // (blocks, heads * classes, d) the gradient's parts, or null
  double* sums;           // (blocks, heads * classes + 2 * heads): bias gradient, losses, masses; or null
  T* row_loss;            // (n,) or null; of head 0
  T* probability;         // (n, classes) or null; of head 0
  int32_t pack;           // most heads of a block
};

constexpr int kPairLanes = 8;  // lanes that share the softmax of one row and head
constexpr int kPassRows = 16;  // rows of a tile: one m16 of the tensor cores
constexpr int kPassWarps = 8;  // of a block

TLPLAT_BOTH int64_t sums_width(int64_t heads, int64_t classes) { return heads * classes + 2 * heads; }

// The least number from n on that is 8 or 4 more than a multiple of 32: strides at which fragments are read without conflicts.
TLPLAT_BOTH constexpr int stride_8(int n) { return (n + 23) / 32 * 32 + 8; }
TLPLAT_BOTH constexpr int stride_4(int n) { return (n + 27) / 32 * 32 + 4; }

// A block's shared memory, in this order; sizes in floats.
struct PassLayout {
  int width, ld;          // features with their padding; the stride of rows of z and of weights
  int weights, stage, part, delta, extra;  // delta: twice, its high and its low parts (tile.h)

  TLPLAT_BOTH PassLayout(int64_t d, int columns, int heads, int part_rows, int ldp)
      : width(int(d + 15) / 16 * 16), ld(stride_4(width)), weights(columns * ld), stage(kPassRows * ld),
        part(part_rows * ldp), delta(kPassRows * ldp), extra(kPassRows * 2 * heads) {}
  TLPLAT_BOTH int64_t bytes() const {
    return 2 * kPassRows * 8 + 4 * (int64_t(weights) + 2 * stage + part + 2 * delta + extra + 4 * kPassRows);
  }
};

}  // namespace gpu
}  // namespace tlplat
