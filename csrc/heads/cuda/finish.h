// After the passes: the parts that blocks left are added up in a fixed order.
#pragma once
#include <algorithm>

#include "pass.h"

namespace tlplat {
namespace gpu {

constexpr int kFoldThreads = 256, kFoldWarps = kFoldThreads / 32;

// Threads that share an element's parts, and blocks for `size` elements of each of `heads`.
struct FoldPlan {
  int32_t lanes = 1;
  int64_t blocks = 1;

  FoldPlan(int64_t parts, int64_t size, int64_t heads, int64_t sms) {
    const auto wanted = [&] { return std::max<int64_t>((size * lanes + kFoldThreads - 1) / kFoldThreads, 1); };
    while (lanes < 8 && 2 * lanes <= parts && 2 * heads * wanted() <= 2 * sms) lanes *= 2;
    blocks = std::min(wanted(), most_blocks(heads, sms));
  }
  static int64_t most_blocks(int64_t heads, int64_t sms) { return std::max<int64_t>(8 * sms / heads, 1); }
};

// Calls f(e, sum over x < parts of part[x * stride + e]) for each e < size, in one thread each; all threads come here. Where
// lanes share an element there are blocks for all elements (FoldPlan), so that scratch is used once.
template <class T, class F>
TLPLAT_DEVICE void fold(const T* part, int64_t stride, int parts, int64_t size, int lanes, T* scratch, F f) {
  const int wide = kFoldThreads / lanes, mine = tid() / wide;
  for (int64_t base = int64_t(block_x()) * wide; base < size; base += int64_t(blocks_x()) * wide) {
    const int64_t e = base + tid() % wide;
    T v = 0;
    TLPLAT_UNROLL_4
    for (int x = mine; x < (e < size ? parts : 0); x += lanes) v += part[x * stride + e];
    if (lanes > 1) {
      scratch[tid()] = v;
      TLPLAT_SYNC(fold);
      for (int q = 1; mine == 0 && q < lanes; ++q) v += scratch[q * wide + tid()];
    }
    if (mine == 0 && e < size) f(e, v);
  }
}

template <class T>
struct LossArgs {
  const T* partial;      // (parts, C, d) or null
  const double* sums;    // (parts, C + 2)
  int32_t parts, classes, mean, lanes;
  int64_t d;
  T* loss;               // () or null
  T *grad_w, *grad_b;    // (C, d), (C,) or null
};

// The reduced loss and its gradients. Grid: (elements of the gradient).
template <class T>
struct LossKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const LossArgs<T>&) { return kFoldThreads * int64_t(sizeof(T)); }

  static TLPLAT_DEVICE void run(const LossArgs<T>& p, unsigned char* shared) {
    const int64_t width = p.classes + 2;
    const double mass = column_total(p.sums + p.classes + 1, width, p.parts);
    const double scale = p.mean ? 1 / mass : 1;
    if (block_x() == 0) {
      const double loss = column_total(p.sums + p.classes, width, p.parts);
      if (tid() == 0 && p.loss) *p.loss = T(p.mean ? loss / mass : loss);
    }
    for (int c = block_x() * kFoldWarps + tid() / 32; p.grad_b && c < p.classes; c += blocks_x() * kFoldWarps) {
      const double g = column_total(p.sums + c, width, p.parts);
      if (tid() % 32 == 0) p.grad_b[c] = T(scale * g);
    }
    if (!p.grad_w) return;
    fold(p.partial, p.classes * p.d, p.parts, p.classes * p.d, p.lanes, reinterpret_cast<T*>(shared),
         [&](int64_t e, T sum) { p.grad_w[e] = T(scale) * sum; });
  }
};

}  // namespace gpu
}  // namespace tlplat
