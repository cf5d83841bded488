// After the passes: the parts that blocks left are added up in a fixed order.
#pragma once
#include "pass.h"

namespace tlplat {
namespace gpu {

constexpr int kFoldThreads = 256;

// The sum of part[x * stride + e] over x < parts for the element e of this thread: `lanes` threads an element (a power of
// two, at most 8), and kFoldThreads / lanes elements a block. True in the thread that holds the sum.
template <class T>
TLPLAT_DEVICE bool fold(const T* part, int64_t stride, int parts, int64_t size, int lanes, T* scratch, int64_t* e, T* sum) {
  const int wide = kFoldThreads / lanes, mine = tid() / wide;
  *e = int64_t(block_x()) * wide + tid() % wide;
  T v = 0;
  for (int x = mine; *e < size && x < parts; x += lanes) v += part[x * stride + *e];
  if (lanes > 1) {
    scratch[tid()] = v;
    TLPLAT_SYNC(fold);
    for (int q = 1; mine == 0 && q < lanes; ++q) v += scratch[q * wide + tid()];
  }
  *sum = v;
  return mine == 0 && *e < size;
}

TLPLAT_BOTH int fold_lanes(int parts) { return parts > 4 ? 8 : 1; }

template <class T>
struct LossArgs {
  const T* partial;      // (parts, C, d) or null
  const double* sums;    // (parts, C + 2)
  int32_t parts, classes, mean;
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
      for (int c = tid() / 32; p.grad_b && c < p.classes; c += threads() / 32) {
        const double g = column_total(p.sums + c, width, p.parts);
        if (tid() % 32 == 0) p.grad_b[c] = T(scale * g);
      }
    }
    if (!p.grad_w) return;
    int64_t e;
    T sum;
    if (fold(p.partial, p.classes * p.d, p.parts, p.classes * p.d, fold_lanes(p.parts), reinterpret_cast<T*>(shared), &e, &sum))
      p.grad_w[e] = T(scale) * sum;
  }
};

}  // namespace gpu
}  // namespace tlplat
