// Between the two products of a pass with many columns: the softmax of every row and head in a chunk of logits, and the
// sums of its columns.
#pragma once
#include "pass.h"

namespace tlplat {
namespace gpu {

template <class T>
struct RowwiseArgs {
  Rows<T> rows;           // begin ... end: the chunk
  const Pack* packs;      // as in product.h
  int32_t classes, heads, splits;
  T* logits;              // (chunk, ld): heads * classes logits, then room for heads losses and heads masses
  int64_t ld;
  int32_t slices;         // parts of the logits, as in product.h
  double* sums;           // (splits, heads * classes + 2 * heads), or null
  int32_t accumulate;
  T* row_loss;            // (n,) or null; of head 0
  T* probability;         // (n, classes) or null; of head 0
};

// WARPS warps a row and head. Grid: (rows, heads), 4 / WARPS rows a block.
template <class T, int WARPS>
struct SoftmaxKernel {
  static constexpr int kMaxThreads = 128, kLanes = 32 * WARPS;
  static int64_t shared_bytes(const RowwiseArgs<T>&) { return WARPS > 1 ? 20 * int64_t(sizeof(T)) : 0; }

  static TLPLAT_DEVICE T larger(T a, T b) { return b > a || b != b ? b : a; }

  static TLPLAT_DEVICE void run(const RowwiseArgs<T>& p, unsigned char* shared) {
    const int64_t at = int64_t(block_x()) * (4 / WARPS) + tid() / kLanes;
    const int head = block_y(), lane = tid() % kLanes, warp = tid() / 32;
    T *tops = reinterpret_cast<T*>(shared), *sums = tops + 4;
    if (p.rows.begin + at >= p.rows.end) return;
    Pack pack = pack_at(p.packs, 0);
    for (int g = 1; head >= pack.first + pack.heads; ++g) pack = pack_at(p.packs, g);
    const int64_t i = row_at(p.rows, pack.order, p.rows.begin + at);
    const Target<T> t = target_of(p.rows, i);
    T* x = p.logits + at * p.ld + int64_t(head) * p.classes;

    T top = -INFINITY;
    const int64_t slice = (p.rows.end - p.rows.begin) * p.ld;
    TLPLAT_UNROLL_4
    for (int c = lane; c < p.classes; c += kLanes) {
      T v = x[c];
      for (int s = 1; s < p.slices; ++s) v += x[s * slice + c];
      if (p.slices > 1) x[c] = v;
      top = larger(top, v);
    }
    TLPLAT_UNROLL
    for (int s = 16; s; s >>= 1) top = larger(top, shfl_xor(top, s));
    if constexpr (WARPS > 1) {
      if (tid() % 32 == 0) tops[warp] = top;
      TLPLAT_SYNC(softmax_tops);
      TLPLAT_UNROLL
      for (int w = 0; w < WARPS; ++w) top = larger(top, tops[w]);
    }
    T sum[4] = {};  // of exponentials, the label's logit, the smoothing's weight, and smoothed logits
    TLPLAT_UNROLL_4
    for (int c = lane; c < p.classes; c += kLanes) {
      const T v = x[c] - top, smooth = smooth_of(p.rows, c);
      if (c == t.label) sum[1] = v;
      sum[2] += smooth, sum[3] += smooth * v;
      sum[0] += exp_of(v);
    }
    TLPLAT_UNROLL
    for (int q = 0; q < 4; ++q) sum[q] = warp_sum(sum[q]);
    if constexpr (WARPS > 1) {
      TLPLAT_UNROLL
      for (int q = 0; q < 4; ++q)
        if (tid() % 32 == q) sums[warp * 4 + q] = sum[q];
      TLPLAT_SYNC(softmax_sums);
      TLPLAT_UNROLL
      for (int q = 0; q < 4; ++q) {
        sum[q] = 0;
        TLPLAT_UNROLL
        for (int w = 0; w < WARPS; ++w) sum[q] += sums[w * 4 + q];
      }
    }
    const T total = sum[0], own = sum[1];
    const T weight = t.kept == 0 ? T(0) : weight_of(p.rows, head, i), mass = t.a + sum[2];
    TLPLAT_UNROLL_4
    for (int c = lane; c < p.classes; c += kLanes) {
      const T share = exp_of(x[c] - top) / total;
      if (p.probability) p.probability[i * p.classes + c] = share;
      x[c] = weight == 0 ? T(0) : weight * (mass * share - smooth_of(p.rows, c) - (c == t.label ? t.a : T(0)));
    }
    if (lane) return;
    const T loss = weight == 0 ? T(0) : weight * (mass * log_of(total) - t.a * own - sum[3]);
    T* extra = p.logits + at * p.ld + int64_t(p.heads) * p.classes;
    extra[head] = loss, extra[p.heads + head] = weight == 0 ? T(0) : weight * t.mass;
    if (p.row_loss) p.row_loss[i] = loss;
  }
};

// sums[split] of 32 columns a block. Grid: (columns / 32, splits); 32 threads a column, added up in order.
template <class T>
struct ColumnSumsKernel {
  static constexpr int kMaxThreads = 1024, kLanes = kMaxThreads / 32;
  static int64_t shared_bytes(const RowwiseArgs<T>&) { return kMaxThreads * 8; }

  static TLPLAT_DEVICE void run(const RowwiseArgs<T>& p, unsigned char* shared) {
    double* scratch = reinterpret_cast<double*>(shared);
    const int64_t width = sums_width(p.heads, p.classes), column = int64_t(block_x()) * 32 + tid() % 32;
    const int64_t count = p.rows.end - p.rows.begin, each = (count + p.splits - 1) / p.splits;
    const int64_t begin = block_y() * each, end = begin + each < count ? begin + each : count;
    double sum = 0;
    TLPLAT_UNROLL_4
    for (int64_t r = begin + tid() / 32; column < width && r < end; r += kLanes) sum += double(p.logits[r * p.ld + column]);
    scratch[tid()] = sum;
    TLPLAT_SYNC(column_sums);
    if (tid() >= 32 || column >= width) return;
    for (int q = 1; q < kLanes; ++q) sum += scratch[q * 32 + tid()];
    double* to = p.sums + block_y() * width + column;
    *to = p.accumulate ? *to + sum : sum;
  }
};

}  // namespace gpu
}  // namespace tlplat
