// The products of a pass for few columns (pass.h), 3xTF32 on the tensor cores (tile.h), and the softmax between them.
#pragma once
#include "pass_args.h"
#include "reduce.h"
#include "tile.h"

namespace tlplat {
namespace gpu {

// NT: column tiles of 8; MT: tiles of 16 features of a warp.
template <int NT, int MT>
struct PassProducts {
  static constexpr int kWarps = kPassWarps, kColumns = 8 * NT;
  static constexpr int kSides = NT <= 4 ? 1 : NT <= 8 ? 2 : 4;  // warps that share the columns; the others share the features
  static constexpr int kSlices = kWarps / kSides, kEach = (NT + kSides - 1) / kSides, kLdp = stride_8(kColumns);

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
