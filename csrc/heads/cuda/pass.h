// One pass over rows for few columns: logits, losses and gradients with one read of z, and no logits in memory.
//
// A block holds the weights of its heads in shared memory. WD warps share the features of a row (128 * V4 each), WR such
// teams take R rows at a time. Rows and the gradient of the weights stay in registers: the forward product, a sum over the
// team, the softmax of R rows, and the backward product from the same registers.
#pragma once
#include "reduce.h"
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
  int32_t wd, wr, pack;   // warps along d, teams of a block, most heads of a block
};

constexpr int kPairLanes = 8;  // lanes that share the softmax of one row and head

TLPLAT_BOTH int64_t sums_width(int64_t heads, int64_t classes) { return heads * classes + 2 * heads; }

template <int MC, int V4, int R>
struct PassKernel {
  static constexpr int kMaxThreads = 256, kSlice = 128 * V4;
  static_assert(32 % R == 0);

  static int64_t shared_bytes(const PassArgs<float>& p) {
    const int64_t rows = int64_t(p.wr) * R;
    return 4 * (MC * p.wd * kSlice + p.wr * p.wd * R * MC + rows * (MC + 2 * p.pack) + 4 * rows) + 8 * rows;
  }

  static TLPLAT_DEVICE void run(const PassArgs<float>& p, unsigned char* shared) {
    const int warp = tid() / 32, lane = tid() % 32, wd = warp % p.wd, wr = warp / p.wd;
    const Pack pack = pack_at(p.packs, block_y());
    const int first = pack.first, heads = pack.heads, group = pack.order;
    bool idle = p.done != nullptr;
    for (int h = 0; idle && h < heads; ++h) idle = p.done[first + h];
    if (idle) return;
    const int columns = heads * p.classes, width = MC + 2 * p.pack, padded = p.wd * kSlice, rows = p.wr * R;
    const int64_t d = p.rows.d;
    int64_t* index = reinterpret_cast<int64_t*>(shared);             // (rows,) or -1
    float* weights = reinterpret_cast<float*>(index + rows);         // (MC, padded)
    float* part = weights + MC * padded;                             // (wr, wd, R * MC)
    float* delta = part + p.wr * p.wd * R * MC;                      // (rows, width)
    float* info = delta + rows * width;                              // (rows, 4)

    const float* w = p.w + int64_t(first) * p.classes * d;
    for (int i = tid(); i < MC * padded; i += threads()) {
      const int c = i / padded, j = i % padded;
      weights[i] = c < columns && j < d ? w[c * d + j] : 0.0f;
    }
    TLPLAT_SYNC(pass_weights);

    float acc[MC][4 * V4] = {};
    double sum = 0;  // of column tid() of delta
    const int64_t count = p.rows.end - p.rows.begin, tiles = (count + rows - 1) / rows;
    for (int64_t tile = block_x(); tile < tiles; tile += blocks_x()) {
      const int64_t begin = p.rows.begin + tile * rows;
      for (int r = tid(); r < rows; r += threads()) {
        const bool there = begin + r < p.rows.end;
        const int64_t i = there ? row_at(p.rows, group, begin + r) : 0;
        const Target<float> t = there ? target_of(p.rows, i) : Target<float>{0, 0, 0, 0};
        index[r] = there ? i : -1;
        info[4 * r] = float(t.label), info[4 * r + 1] = t.a, info[4 * r + 2] = t.mass, info[4 * r + 3] = t.kept;
      }
      float z[R][4 * V4];
      TLPLAT_UNROLL
      for (int r = 0; r < R; ++r) {
        const int64_t at = begin + wr * R + r;
        const bool there = at < p.rows.end;
        const int64_t i = there ? row_at(p.rows, group, at) : 0;
        TLPLAT_UNROLL
        for (int v = 0; v < V4; ++v) {
          const int64_t j = wd * kSlice + v * 128 + lane * 4;
          if (there) {
            load4(p.rows, i, j, z[r] + 4 * v);
          } else {
            TLPLAT_UNROLL
            for (int e = 0; e < 4; ++e) z[r][4 * v + e] = 0;
          }
        }
      }
      forward(z, weights + wd * kSlice, padded, part + (wr * p.wd + wd) * R * MC);
      TLPLAT_SYNC(pass_logits);
      softmax(p, part, index, info, delta, width, first, heads, rows);
      TLPLAT_SYNC(pass_delta);
      if (tid() < columns + 2 * heads)
        for (int r = 0; r < rows; ++r) sum += double(delta[r * width + (tid() < columns ? tid() : MC + tid() - columns)]);
      if (!p.partial) continue;
      TLPLAT_UNROLL
      for (int r = 0; r < R; ++r) {
        const float* row = delta + (wr * R + r) * width;
        TLPLAT_UNROLL
        for (int c = 0; c < MC; ++c) {
          const float g = c < columns ? row[c] : 0.0f;
          TLPLAT_UNROLL
          for (int v = 0; v < 4 * V4; ++v) acc[c][v] += g * z[r][v];
        }
      }
    }
    if (p.sums && tid() < columns + 2 * heads) {
      const int64_t m = int64_t(p.heads) * p.classes, k = tid() - columns;
      const int64_t at = k < 0 ? int64_t(first) * p.classes + tid()
                               : k < heads ? m + first + k : m + p.heads + first + k - heads;
      p.sums[block_x() * sums_width(p.heads, p.classes) + at] = sum;
    }
    if (!p.partial) return;
    // The teams add up their gradients in order, in the place of the weights.
    for (int team = 0; team < p.wr; ++team) {
      if (team == wr) {
        TLPLAT_UNROLL
        for (int c = 0; c < MC; ++c)
          TLPLAT_UNROLL
          for (int v = 0; v < 4 * V4; ++v) {
            float* to = weights + c * padded + wd * kSlice + v / 4 * 128 + lane * 4 + v % 4;
            *to = team ? *to + acc[c][v] : acc[c][v];
          }
      }
      TLPLAT_SYNC(pass_combine);
    }
    float* out = p.partial + (int64_t(block_x()) * p.heads + first) * p.classes * d;
    for (int64_t i = tid(); i < columns * d; i += threads()) out[i] = weights[i / d * padded + i % d];
  }

  // part (R * MC): this warp's share of the logits of its R rows.
  static TLPLAT_DEVICE void forward(const float (&z)[R][4 * V4], const float* weights, int padded, float* part) {
    const int lane = tid() % 32;
    TLPLAT_ROLLED
    for (int base = 0; base < R * MC; base += 32) {
      float v[32];
      TLPLAT_UNROLL
      for (int i = 0; i < 32; ++i) {
        const int c = base / R + i / R, r = i % R;  // rows innermost: one weight serves them all
        float dot = 0;
        if (base + i < R * MC) {
          TLPLAT_UNROLL
          for (int j = 0; j < V4; ++j) {
            const Four four = *reinterpret_cast<const Four*>(weights + c * padded + j * 128 + lane * 4);
            TLPLAT_UNROLL
            for (int e = 0; e < 4; ++e) dot += z[r][4 * j + e] * four.v[e];
          }
        }
        v[i] = dot;
      }
      const float sum = warp_transpose_sum(v);
      if (base + lane < R * MC) part[base + lane] = sum;
    }
  }

  // delta (rows, width): the gradient of the logits in columns [0, MC), then losses and masses of the block's heads.
  static TLPLAT_DEVICE void softmax(
      const PassArgs<float>& p, const float* part, const int64_t* index, const float* info, float* delta, int width,
      int first, int heads, int rows) {
    const int sub = tid() % kPairLanes, pairs = rows * heads, each = threads() / kPairLanes;
    for (int q0 = 0; q0 < pairs; q0 += each) {
      const int q = q0 + tid() / kPairLanes, r = q < pairs ? q / heads : 0, h = q < pairs ? q % heads : 0;
      float logit[MC / kPairLanes + 1], top = -INFINITY, spread = 0, smoothed = 0;
      TLPLAT_UNROLL
      for (int i = 0; i < MC / kPairLanes + 1; ++i) {
        const int c = sub + i * kPairLanes, column = h * p.classes + c;
        logit[i] = -INFINITY;
        if (c >= p.classes) continue;
        float x = p.bias ? p.bias[first * p.classes + column] : 0.0f;
        for (int s = 0; s < p.wd; ++s) x += part[((r / R) * p.wd + s) * R * MC + column * R + r % R];
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
      for (int i = 0; i < MC / kPairLanes + 1; ++i) {
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
      for (int k = 0; k < MC / kPairLanes + 1; ++k) {
        const int c = sub + k * kPairLanes;
        if (c >= p.classes) continue;
        const float share = logit[k] / total;
        if (p.probability && i >= 0) p.probability[i * p.classes + c] = share;
        const float g = weight * (mass * share - smooth_of(p.rows, c) - (c == label ? a : 0.0f));
        delta[r * width + h * p.classes + c] = weight == 0 ? 0.0f : g;
      }
      if (sub == 0) {
        delta[r * width + MC + h] = loss;
        delta[r * width + MC + heads + h] = weight == 0 ? 0.0f : weight * info[4 * r + 2];
        if (p.row_loss && i >= 0) p.row_loss[i] = loss;
      }
    }
  }
};

}  // namespace gpu
}  // namespace tlplat
