// One pass over rows for few columns: logits, losses and gradients with one read of z, and no logits in memory.
//
// A block holds the weights of its heads in shared memory and walks over tiles of 16 rows, while the next tile is on its way
// (cp.async). Forward, the warps share the features (and, from 5 column tiles on, the columns); their sums meet in shared
// memory, where the softmax of the 16 rows is taken. Backward, each warp owns features and keeps their gradient in registers.
// Both products are 3xTF32 on the tensor cores (tile.h).
#pragma once
#include "pass_products.h"
#include "pass_rows.h"

namespace tlplat {
namespace gpu {

// NT: column tiles of 8; MT: tiles of 16 features of a warp; BLOCKS: blocks of a multiprocessor.
template <int NT, int MT, int BLOCKS>
struct PassKernel : PassRows {
  using Products = PassProducts<NT, MT>;
  static constexpr int kMaxThreads = 256, kMinBlocks = BLOCKS, kLdp = Products::kLdp;

  static TLPLAT_BOTH PassLayout layout(const PassArgs<float>& p) {
    return PassLayout(p.rows.d, p.pack * p.classes, p.pack, Products::kSlices * kPassRows, kLdp);
  }
  static int64_t shared_bytes(const PassArgs<float>& p) { return layout(p).bytes(); }

  static TLPLAT_DEVICE void run(const PassArgs<float>& p, unsigned char* shared) {
    const int warp = tid() / 32, lane = tid() % 32;
    const Pack pack = pack_at(p.packs, block_y());
    const int first = pack.first, heads = pack.heads, group = pack.order, columns = heads * p.classes;
    bool idle = p.done != nullptr;
    for (int h = 0; idle && h < heads; ++h) idle = p.done[first + h];
    let_next_begin();
    if (idle) return after_previous();
    const PassLayout at = layout(p);
    int64_t* index = reinterpret_cast<int64_t*>(shared);             // (2, rows): of this tile and the next; -1: no row
    float* weights = reinterpret_cast<float*>(index + 2 * kPassRows);  // (columns, ld)
    float* stages = weights + at.weights;                            // two of (rows, ld)
    float* part = stages + 2 * at.stage;                             // (slices, rows, kLdp)
    float* delta = part + at.part;                                   // (2, rows, kLdp)
    float* extra = delta + 2 * at.delta;                               // (rows, losses and masses of the heads)
    float* info = extra + at.extra;                                  // (rows, 4)
    // Narrow rows arrive in their own type in the second stage's place and are widened into the first.
    const bool narrow = is_narrow(p.rows);
    uint16_t* raw = reinterpret_cast<uint16_t*>(stages + at.stage);

    for (int i = tid(); i < 2 * at.delta; i += threads()) delta[i] = 0;
    const int64_t count = p.rows.end - p.rows.begin, tiles = (count + kPassRows - 1) / kPassRows;
    if (tid() < kPassRows) {
      index[tid()] = row_of(p, group, block_x(), tid());
      index[kPassRows + tid()] = row_of(p, group, int64_t(block_x()) + blocks_x(), tid());
      note(p, index[tid()], label_of(p, index[tid()]), info + 4 * tid());
    }
    TLPLAT_SYNC(pass_begin);
    fetch(p.rows, index, at, narrow, narrow ? reinterpret_cast<void*>(raw) : stages);
    after_previous();  // the rows do not depend on the step before, the weights do
    load_weights(p, first, columns, at, weights);
    copy_async_commit();

    FragmentC acc[MT][NT] = {};
    double sum = 0;  // of column tid() of delta, or of extra
    int odd = 0;
    for (int64_t tile = block_x(); tile < tiles; tile += blocks_x(), odd ^= 1) {
      if (tile + blocks_x() < tiles) {
        void* next = narrow ? static_cast<void*>(raw + (odd ^ 1) * kPassRows * at.width) : stages + (odd ^ 1) * at.stage;
        fetch(p.rows, index + (odd ^ 1) * kPassRows, at, narrow, next);
      }
      copy_async_commit();
      // The row after the next one, and the next one's label: asked for early, used at the end.
      int64_t later = -1, label = 0;
      if (tid() < kPassRows) {
        later = row_of(p, group, tile + 2 * int64_t(blocks_x()), tid());
        label = label_of(p, index[(odd ^ 1) * kPassRows + tid()]);
      }
      copy_async_wait<1>();
      TLPLAT_SYNC(pass_stage);
      const float* z = narrow ? stages : stages + odd * at.stage;
      if (narrow) {
        widen(p.rows, raw + odd * kPassRows * at.width, at, stages);
        TLPLAT_SYNC(pass_widened);
      }
      Products::forward(z, weights, at, columns, part);
      TLPLAT_SYNC(pass_logits);
      Products::softmax(p, part, index + odd * kPassRows, info, delta, extra, first, heads);
      TLPLAT_SYNC(pass_delta);
      if (p.sums && tid() < columns + 2 * heads) {
        float tile_sum = 0;
        TLPLAT_UNROLL
        for (int r = 0; r < kPassRows; ++r)
          tile_sum += tid() < columns ? delta[r * kLdp + tid()] + delta[at.delta + r * kLdp + tid()] : extra[r * 2 * p.pack + tid() - columns];
        sum += double(tile_sum);
      }
      if (p.partial) Products::backward(z, delta, at, acc);
      if (tid() < kPassRows) {
        index[odd * kPassRows + tid()] = later;
        note(p, index[(odd ^ 1) * kPassRows + tid()], label, info + 4 * tid());
      }
      TLPLAT_SYNC(pass_done);
    }
    if (p.sums && tid() < columns + 2 * heads) {
      const int64_t m = int64_t(p.heads) * p.classes, k = tid() - columns;
      const int64_t to = k < 0 ? int64_t(first) * p.classes + tid()
                               : k < heads ? m + first + k : m + p.heads + first + k - heads;
      p.sums[block_x() * sums_width(p.heads, p.classes) + to] = sum;
    }
    if (!p.partial) return;
    float* out = p.partial + (int64_t(block_x()) * p.heads + first) * p.classes * p.rows.d;
    const int g = lane / 4, t = lane % 4, d = int(p.rows.d);
    TLPLAT_UNROLL
    for (int m = 0; m < MT; ++m)
      TLPLAT_UNROLL
      for (int n = 0; n < NT; ++n)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) {
          const int column = n * 8 + 2 * t + e % 2, feature = (warp + kWarps * m) * 16 + g + e / 2 * 8;
          if (column < columns && feature < d) out[column * p.rows.d + feature] = acc[m][n].v[e];
        }
  }
};

}  // namespace gpu
}  // namespace tlplat
