// A step of SGD with momentum or AdamW on the parts that a pass left, and what happens at the end of an epoch. The
// arithmetic is that of torch.optim.SGD and torch.optim.AdamW.
#pragma once
#include "finish.h"

namespace tlplat {
namespace gpu {

template <class T>
struct StepArgs {
  const T* partial;        // (parts, heads * classes, d)
  const double* sums;      // (parts, sums_width)
  int32_t parts, classes, heads, lanes, adamw, cosine;
  int64_t d, index, batches, epochs;
  const int64_t* epoch;    // on the device
  const uint8_t* done;     // (heads,)
  const double *decay, *rate;  // (heads,)
  double momentum, beta1, beta2, eps;
  T *w, *bias, *first, *second, *first_b, *second_b;
  double* spent;           // (heads, blocks): each block's part of the epoch's loss
  int32_t blocks;          // the most blocks of a step
};

// Grid: (elements of a head's weights, heads).
template <class T>
struct StepKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const StepArgs<T>&) { return 33 * 8 + kFoldThreads * int64_t(sizeof(T)); }

  static TLPLAT_DEVICE void run(const StepArgs<T>& p, unsigned char* shared) {
    after_previous();
    let_next_begin();
    const int head = block_y();
    if (p.done[head]) return;
    double* scratch = reinterpret_cast<double*>(shared);
    const int64_t m = int64_t(p.heads) * p.classes, width = sums_width(p.heads, p.classes), size = p.classes * p.d;
    const double loss = column_total(p.sums + m + head, width, p.parts);
    const double mass = column_total(p.sums + m + p.heads + head, width, p.parts);
    const double scale = mass > 0 ? 1 / mass : 1, t = double(*p.epoch * p.batches + p.index), decay = p.decay[head];
    const double turn = 3.14159265358979323846 * t / double(p.epochs * p.batches);
    const double rate = p.rate[head] * (p.cosine ? 0.5 * (1 + cos(turn)) : 1);
    const double lift = p.adamw ? 1 / (1 - pow(p.beta1, t + 1)) : 1, root = p.adamw ? 1 / sqrt(1 - pow(p.beta2, t + 1)) : 1;
    double square = 0;
    fold(p.partial + head * size, m * p.d, p.parts, size, p.lanes, reinterpret_cast<T*>(shared + 33 * 8), [&](int64_t e, T g) {
      const int64_t i = head * size + e;
      square += double(p.w[i]) * double(p.w[i]);
      advance(p, p.w + i, p.first + i, p.adamw ? p.second + i : nullptr, T(scale) * g, T(decay), rate, lift, root);
    });
    for (int c = block_x() * kFoldWarps + tid() / 32; c < p.classes; c += blocks_x() * kFoldWarps) {
      const int64_t i = int64_t(head) * p.classes + c;
      const double sum = column_total(p.sums + i, width, p.parts);
      if (tid() % 32 == 0)
        advance(p, p.bias + i, p.first_b + i, p.adamw ? p.second_b + i : nullptr, T(scale * sum), T(0), rate, lift, root);
    }
    square = block_sum(square, scratch);
    if (tid() == 0) p.spent[int64_t(head) * p.blocks + block_x()] += 0.5 * decay * square + (block_x() ? 0.0 : loss * scale);
  }

  static TLPLAT_DEVICE void advance(
      const StepArgs<T>& p, T* w, T* first, T* second, T g, T decay, double rate, double lift, double root) {
    if (!p.adamw) {
      *first = T(p.momentum) * *first + (g + decay * *w);
      *w -= T(rate) * *first;
      return;
    }
    *first += (T(1) - T(p.beta1)) * (g - *first);
    *second += (T(1) - T(p.beta2)) * (g * g - *second);
    *w = *w * T(1 - rate * double(decay)) - T(rate * lift) * *first / (sqrt_of(*second) * T(root) + T(p.eps));
  }
};

// What a fit tells of a head.
struct HeadReport {
  double loss, held;
  int64_t iterations, waited;
};

template <class T>
struct EpochArgs {
  const double* held;      // (parts, sums_width) sums of the held-out rows, or null
  int32_t parts, classes, heads, blocks;
  int64_t batches, patience;
  double* spent;           // (heads, blocks)
  uint8_t* done;
  HeadReport* report;      // (heads,)
  uint8_t* kept;           // (heads,) whose weights are to be copied
};

// Judges an epoch: losses, whose weights are the best so far, who stops. Grid: (heads).
template <class T>
struct EpochKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const EpochArgs<T>&) { return 0; }

  static TLPLAT_DEVICE void run(const EpochArgs<T>& p, unsigned char*) {
    const int head = block_x();
    if (p.done[head]) {
      if (tid() == 0) p.kept[head] = 0;
      return;
    }
    HeadReport r = p.report[head];
    double* spent = p.spent + int64_t(head) * p.blocks;
    r.loss = column_total(spent, 1, p.blocks) / double(p.batches);
    ++r.iterations;
    bool stop = !(r.loss - r.loss == 0), keep = true;
    if (p.held) {
      const int64_t m = int64_t(p.heads) * p.classes, width = sums_width(p.heads, p.classes);
      const double mass = column_total(p.held + m + p.heads + head, width, p.parts);
      const double held = column_total(p.held + m + head, width, p.parts) / (mass > 0 ? mass : 1);
      keep = held < (r.held == r.held ? r.held : INFINITY);
      if (keep) r.held = held;
      r.waited = keep ? 0 : r.waited + 1;
      stop = stop || r.waited >= p.patience;
    }
    TLPLAT_SYNC(epoch_read);
    for (int x = threads() - 1 - tid(); x < p.blocks; x += threads()) spent[x] = 0;
    if (tid()) return;
    p.report[head] = r;
    p.done[head] = stop;
    p.kept[head] = keep;
  }
};

template <class T>
struct KeepArgs {
  const uint8_t* kept;
  int32_t classes;
  int64_t d;
  const T *w, *bias;
  T *out_w, *out_b;        // the best epoch with held-out rows, else the last
};

// Copies the weights that are kept. Grid: (any, heads).
template <class T>
struct KeepKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const KeepArgs<T>&) { return 0; }
  static TLPLAT_DEVICE void run(const KeepArgs<T>& p, unsigned char*) {
    const int64_t head = block_y(), size = p.classes * p.d, first = int64_t(block_x()) * threads() + tid();
    if (!p.kept[head]) return;
    for (int64_t e = first; e < size; e += int64_t(blocks_x()) * threads()) p.out_w[head * size + e] = p.w[head * size + e];
    for (int64_t c = first; c < p.classes; c += int64_t(blocks_x()) * threads()) p.out_b[head * p.classes + c] = p.bias[head * p.classes + c];
  }
};

struct TickArgs {
  int64_t* epoch;
  const uint8_t* done;
  int32_t heads;
  int64_t* active;
};

// Closes an epoch or an evaluation: counts it, and the heads still at work. One block.
struct TickKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const TickArgs&) { return 33 * 8; }
  static TLPLAT_DEVICE void run(const TickArgs& p, unsigned char* shared) {
    double active = 0;
    for (int h = tid(); h < p.heads; h += threads()) active += !p.done[h];
    active = block_sum(active, reinterpret_cast<double*>(shared));
    if (tid() == 0) *p.active = int64_t(active), ++*p.epoch;
  }
};

}  // namespace gpu
}  // namespace tlplat
