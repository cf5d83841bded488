// One pass over rows for few columns: logits, losses and gradients with one read of z, and no logits in memory.
//
// A block holds the weights of its heads in shared memory and walks over tiles of 16 rows, while the next tile is on its way
// (cp.async). Forward, the warps share the features (and, from 5 column tiles on, the columns); their sums meet in shared
// memory, where the softmax of the 16 rows is taken. Backward, each warp owns features and keeps their gradient in registers.
// Both products are 3xTF32 on the tensor cores (tile.h).
#pragma once
#include "reduce.h"
#include "rows.h"
#include "tile.h"

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

// NT: column tiles of 8; MT: tiles of 16 features of a warp; BLOCKS: blocks of a multiprocessor.
template <int NT, int MT, int BLOCKS>
struct PassKernel {
  static constexpr int kMaxThreads = 256, kMinBlocks = BLOCKS, kWarps = 8, kColumns = 8 * NT;
  static constexpr int kSides = NT <= 4 ? 1 : NT <= 8 ? 2 : 4;  // warps that share the columns; the others share the features
  static constexpr int kSlices = kWarps / kSides, kEach = (NT + kSides - 1) / kSides, kLdp = stride_8(kColumns);

  static TLPLAT_BOTH PassLayout layout(const PassArgs<float>& p) {
    return PassLayout(p.rows.d, p.pack * p.classes, p.pack, kSlices * kPassRows, kLdp);
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
      forward(z, weights, at, columns, part);
      TLPLAT_SYNC(pass_logits);
      softmax(p, part, index + odd * kPassRows, info, delta, extra, first, heads);
      TLPLAT_SYNC(pass_delta);
      if (p.sums && tid() < columns + 2 * heads) {
        float tile_sum = 0;
        TLPLAT_UNROLL
        for (int r = 0; r < kPassRows; ++r)
          tile_sum += tid() < columns ? delta[r * kLdp + tid()] + delta[at.delta + r * kLdp + tid()] : extra[r * 2 * p.pack + tid() - columns];
        sum += double(tile_sum);
      }
      if (p.partial) backward(z, delta, at, acc);
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

  // The row at place r of a tile, -1 past the end.
  static TLPLAT_DEVICE int64_t row_of(const PassArgs<float>& p, int group, int64_t tile, int r) {
    const int64_t at = p.rows.begin + tile * kPassRows + r;
    return at < p.rows.end ? row_at(p.rows, group, at) : -1;
  }

  static TLPLAT_DEVICE int64_t label_of(const PassArgs<float>& p, int64_t i) { return p.rows.y && i >= 0 ? p.rows.y[i] : 0; }

  static TLPLAT_DEVICE void note(const PassArgs<float>& p, int64_t i, int64_t label, float* info) {
    const Target<float> t = i < 0 ? Target<float>{0, 0, 0, 0} : target_of_label(p.rows, label);
    info[0] = float(t.label), info[1] = t.a, info[2] = t.mass, info[3] = t.kept;
  }

  static TLPLAT_DEVICE bool is_narrow(const Rows<float>& rows) {
    return rows.aligned && (rows.z_dtype == TLPLAT_BF16 || rows.z_dtype == TLPLAT_F16);
  }

  static TLPLAT_DEVICE void load_weights(
      const PassArgs<float>& p, int first, int columns, const PassLayout& at, float* weights) {
    const int warp = tid() / 32, lane = tid() % 32, d = int(p.rows.d);
    const float* w = p.w + int64_t(first) * p.classes * p.rows.d;
    const bool fours = d % 4 == 0 && reinterpret_cast<uintptr_t>(w) % 16 == 0;
    for (int c = warp; c < columns; c += kWarps) {
      const float* from = w + c * p.rows.d;
      if (fours)
        for (int j = lane * 4; j < at.width; j += 128) copy_async<16>(weights + c * at.ld + j, j < d ? from + j : w, j < d ? 16 : 0);
      else
        for (int j = lane; j < at.width; j += 32) copy_async<4>(weights + c * at.ld + j, j < d ? from + j : w, j < d ? 4 : 0);
    }
  }

  // Starts to copy the rows of a tile; zeros where there is no row, and from d on.
  static TLPLAT_DEVICE void fetch(const Rows<float>& rows, const int64_t* index, const PassLayout& at, bool narrow, void* stage) {
    const int lane = tid() % 32, d = int(rows.d);
    for (int r = tid() / 32; r < kPassRows; r += kWarps) {
      const int64_t i = index[r] < rows.n ? index[r] : -1;
      const int there = i < 0 ? 0 : d;
      if (narrow) {
        const uint16_t* from = static_cast<const uint16_t*>(rows.z) + (i < 0 ? 0 : i * rows.z_stride);
        uint16_t* to = static_cast<uint16_t*>(stage) + r * at.width;
        for (int j = lane * 4; j < at.width; j += 128) {
          const int left = there - j < 4 ? there - j : 4;
          copy_async<8>(to + j, left > 0 ? from + j : from, left > 0 ? 2 * left : 0);
        }
        continue;
      }
      float* to = static_cast<float*>(stage) + r * at.ld;
      if (rows.z_dtype == TLPLAT_F32) {
        const float* from = static_cast<const float*>(rows.z) + (i < 0 ? 0 : i * rows.z_stride);
        if (rows.aligned) {
          for (int j = lane * 4; j < at.width; j += 128) {
            const int left = there - j < 4 ? there - j : 4;
            copy_async<16>(to + j, left > 0 ? from + j : from, left > 0 ? 4 * left : 0);
          }
        } else {
          for (int j = lane; j < at.width; j += 32) copy_async<4>(to + j, j < there ? from + j : from, j < there ? 4 : 0);
        }
        continue;
      }
      for (int j = lane; j < at.width; j += 32)
        to[j] = j < there ? float(element(rows.z, rows.z_dtype, i * rows.z_stride + j)) : 0.0f;
    }
  }

  static TLPLAT_DEVICE void widen(const Rows<float>& rows, const uint16_t* raw, const PassLayout& at, float* z) {
    const bool brain = rows.z_dtype == TLPLAT_BF16;
    for (int r = tid() / 32; r < kPassRows; r += kWarps)
      for (int j = tid() % 32 * 4; j < at.width; j += 128) {
        const FourHalves from = *reinterpret_cast<const FourHalves*>(raw + r * at.width + j);
        Four to;
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) to.v[e] = brain ? widen_bf16(from.v[e]) : widen_f16(from.v[e]);
        *reinterpret_cast<Four*>(z + r * at.ld + j) = to;
      }
  }

  // part (slices, rows, kLdp): what each slice of the features adds to the logits. Columns past the last are computed from
  // column 0 and not looked at: a branch between the products would keep them from overlapping.
  static TLPLAT_DEVICE void forward(const float* z, const float* weights, const PassLayout& at, int columns, float* part) {
    const int warp = tid() / 32, g = tid() % 32 / 4, t = tid() % 4, slice = warp % kSlices, n0 = warp / kSlices * kEach;
    const int steps = at.width / 8, each = (steps + kSlices - 1) / kSlices;
    const int begin = slice * each < steps ? slice * each : steps, end = begin + each < steps ? begin + each : steps;
    const float* x = z + g * at.ld + t;
    int w[kEach];
    TLPLAT_UNROLL
    for (int n = 0; n < kEach; ++n) w[n] = ((n0 + n) * 8 + g < columns ? (n0 + n) * 8 + g : 0) * at.ld + t;
    FragmentC c[kEach] = {}, rounding[kEach] = {};
    TLPLAT_UNROLL_2
    for (int k = begin; k < end; ++k) {
      FragmentA high, low;
      TLPLAT_UNROLL
      for (int e = 0; e < 4; ++e) split(x[e % 2 * 8 * at.ld + k * 8 + e / 2 * 4], high.v[e], low.v[e]);
      FragmentB top[kEach], rest[kEach];
      TLPLAT_UNROLL
      for (int n = 0; n < kEach; ++n)
        TLPLAT_UNROLL
        for (int e = 0; e < 2; ++e) split(weights[w[n] + k * 8 + 4 * e], top[n].v[e], rest[n].v[e]);
      TLPLAT_UNROLL
      for (int n = 0; n < kEach; ++n) mma(rounding[n], low, top[n]);
      TLPLAT_UNROLL
      for (int n = 0; n < kEach; ++n) mma(c[n], high, top[n]);
      TLPLAT_UNROLL
      for (int n = 0; n < kEach; ++n) mma(rounding[n], high, rest[n]);
    }
    float* out = part + (slice * kPassRows + g) * kLdp + 2 * t;
    TLPLAT_UNROLL
    for (int n = 0; n < kEach; ++n)
      if (n0 + n < NT)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) out[e / 2 * 8 * kLdp + (n0 + n) * 8 + e % 2] = c[n].v[e] + rounding[n].v[e];
  }

  // acc += z^T delta over the tile's rows. The tensor cores' own sum is cut off, not rounded, so that each tile's is added here.
  static TLPLAT_DEVICE void backward(const float* z, const float* delta, const PassLayout& at, FragmentC (&acc)[MT][NT]) {
    const int warp = tid() / 32, g = tid() % 32 / 4, t = tid() % 4, tiles = at.width / 16;
    TLPLAT_UNROLL
    for (int m = 0; m < MT; ++m) {
      const int mine = warp + kWarps * m < tiles ? warp + kWarps * m : tiles - 1;
      const float* x = z + t * at.ld + mine * 16 + g;
      FragmentA high[2], low[2];
      TLPLAT_UNROLL
      for (int k = 0; k < 2; ++k)
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) split(x[(8 * k + e / 2 * 4) * at.ld + e % 2 * 8], high[k].v[e], low[k].v[e]);
      TLPLAT_UNROLL
      for (int n = 0; n < NT; ++n) {
        const float *y = delta + t * kLdp + n * 8 + g, *y_low = y + at.delta;
        FragmentC c = {};
        TLPLAT_UNROLL
        for (int k = 0; k < 2; ++k) {
          const FragmentB top{{y[8 * k * kLdp], y[(8 * k + 4) * kLdp]}}, rest{{y_low[8 * k * kLdp], y_low[(8 * k + 4) * kLdp]}};
          mma(c, low[k], top);
          mma(c, high[k], rest);
          mma(c, high[k], top);
        }
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) acc[m][n].v[e] += c.v[e];
      }
    }
  }

  // delta (2, rows, kLdp): the gradient of the logits, its high and low parts; extra (rows, 2 * pack): losses, then masses of the block's heads.
  static TLPLAT_DEVICE void softmax(
      const PassArgs<float>& p, const float* part, const int64_t* index, const float* info, float* delta, float* extra,
      int first, int heads) {
    const int sub = tid() % kPairLanes, pairs = kPassRows * heads, each = threads() / kPairLanes;
    constexpr int kMine = NT;  // the most classes of a lane
    for (int q0 = 0; q0 < pairs; q0 += each) {
      const int q = q0 + tid() / kPairLanes, r = q < pairs ? q / heads : 0, h = q < pairs ? q % heads : 0;
      float logit[kMine], top = -INFINITY, spread = 0, smoothed = 0;
      TLPLAT_UNROLL
      for (int i = 0; i < kMine; ++i) {
        const int c = sub + i * kPairLanes, column = h * p.classes + c;
        logit[i] = -INFINITY;
        if (c >= p.classes) continue;
        float x = p.bias ? p.bias[first * p.classes + column] : 0.0f;
        TLPLAT_UNROLL
        for (int s = 0; s < kSlices; ++s) x += part[(s * kPassRows + r) * kLdp + column];
        logit[i] = x;
        top = x > top || x != x ? x : top;
      }
      TLPLAT_UNROLL
      for (int s = kPairLanes / 2; s; s >>= 1) {
        const float other = shfl_xor(top, s);
        top = other > top || other != other ? other : top;
      }
      const int label = int(info[4 * r]);
      float total = 0, own = 0;
      TLPLAT_UNROLL
      for (int i = 0; i < kMine; ++i) {
        const int c = sub + i * kPairLanes;
        if (c >= p.classes) continue;
        logit[i] -= top;
        if (c == label) own = logit[i];
        const float smooth = smooth_of(p.rows, c);
        spread += smooth, smoothed += smooth * logit[i];
        logit[i] = exp_of(logit[i]);
        total += logit[i];
      }
      TLPLAT_UNROLL
      for (int s = kPairLanes / 2; s; s >>= 1) {
        total += shfl_xor(total, s), own += shfl_xor(own, s);
        spread += shfl_xor(spread, s), smoothed += shfl_xor(smoothed, s);
      }
      if (q >= pairs) continue;
      const int64_t i = index[r];
      const float a = info[4 * r + 1], kept = info[4 * r + 3];
      const float weight = i < 0 || kept == 0 ? 0.0f : weight_of(p.rows, first + h, i), mass = a + spread;
      const float loss = weight == 0 ? 0.0f : weight * (mass * log_of(total) - a * own - smoothed);
      TLPLAT_UNROLL
      for (int k = 0; k < kMine; ++k) {
        const int c = sub + k * kPairLanes;
        if (c >= p.classes) continue;
        const float share = logit[k] / total;
        if (p.probability && i >= 0) p.probability[i * p.classes + c] = share;
        const float grad = weight * (mass * share - smooth_of(p.rows, c) - (c == label ? a : 0.0f));
        float* to = delta + r * kLdp + h * p.classes + c;
        split(weight == 0 ? 0.0f : grad, to[0], to[kPassRows * kLdp]);
      }
      if (sub == 0) {
        extra[r * 2 * p.pack + h] = loss;
        extra[r * 2 * p.pack + heads + h] = weight == 0 ? 0.0f : weight * info[4 * r + 2];
        if (p.row_loss && i >= 0) p.row_loss[i] = loss;
      }
    }
  }
};

}  // namespace gpu
}  // namespace tlplat
