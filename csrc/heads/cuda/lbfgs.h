// L-BFGS for many heads: a block a head judges the trial point that a pass evaluated and sets the next one. The method is
// that of cpu/lbfgs.cpp and tlplat/ops/reference_lbfgs.py (weak Wolfe by bisection, memory 10).
#pragma once
#include "finish.h"
#include "step.h"

namespace tlplat {
namespace gpu {

constexpr int kMemory = 10, kMaxTrials = 20, kVectors = 4 + 2 * kMemory;  // fresh, x, g, d, then steps and changes

struct LineSearch {
  double rho[kMemory], gamma, f, slope, t, low, high;
  int32_t stored, next, trials, started, converged;
};

template <class T>
struct LbfgsArgs {
  const T* partial;
  const double* sums;
  int32_t parts, classes, heads, lanes;
  int64_t d, max_iter;
  double tol, epsilon;     // epsilon of T
  const double* decay;
  uint8_t* done;
  LineSearch* search;      // (heads,)
  HeadReport* report;      // (heads,)
  T *w, *bias;             // the trial points
  T* vectors;              // (heads, kVectors, classes * (d + 1)): weights, then biases
};

// The gradient at the trial point, to fresh. Grid: (elements of a head's weights, heads).
template <class T>
struct LbfgsGradientKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const LbfgsArgs<T>&) { return kFoldThreads * int64_t(sizeof(T)); }

  static TLPLAT_DEVICE void run(const LbfgsArgs<T>& p, unsigned char* shared) {
    const int head = block_y();
    if (p.done[head]) return;
    const int64_t m = int64_t(p.heads) * p.classes, width = sums_width(p.heads, p.classes), size = p.classes * p.d;
    T* fresh = p.vectors + head * kVectors * (size + p.classes);
    const double scale = 1 / column_total(p.sums + m + p.heads + head, width, p.parts);
    fold(p.partial + head * size, m * p.d, p.parts, size, p.lanes, reinterpret_cast<T*>(shared),
         [&](int64_t e, T g) { fresh[e] = T(scale) * g + T(p.decay[head]) * p.w[head * size + e]; });
    for (int c = block_x() * kFoldWarps + tid() / 32; c < p.classes; c += blocks_x() * kFoldWarps) {
      const double sum = column_total(p.sums + int64_t(head) * p.classes + c, width, p.parts);
      if (tid() % 32 == 0) fresh[size + c] = T(scale * sum);
    }
  }
};

// Grid: (heads). A thread owns the same elements of every vector, so that only sums need barriers.
template <class T>
struct LbfgsKernel {
  static constexpr int kMaxThreads = 1024;
  static constexpr double kArmijo = 1e-4, kCurvature = 0.9;

  static int64_t shared_bytes(const LbfgsArgs<T>&) { return 33 * 8; }

  static TLPLAT_DEVICE double dot(const T* x, const T* y, int64_t size, double* scratch) {
    double sum = 0;
    for (int64_t e = tid(); e < size; e += threads()) sum += double(x[e]) * double(y[e]);
    return block_sum(sum, scratch);
  }

  static TLPLAT_DEVICE void run(const LbfgsArgs<T>& p, unsigned char* shared) {
    const int head = block_x();
    if (p.done[head]) return;
    double* scratch = reinterpret_cast<double*>(shared);
    const int64_t m = int64_t(p.heads) * p.classes, width = sums_width(p.heads, p.classes);
    const int64_t weights = p.classes * p.d, size = weights + p.classes;
    T* fresh = p.vectors + head * kVectors * size;
    T *x = fresh + size, *g = x + size, *d = g + size, *w = p.w + head * weights, *b = p.bias + head * p.classes;
    LineSearch s = p.search[head];
    HeadReport r = p.report[head];

    const double mass = column_total(p.sums + m + p.heads + head, width, p.parts);
    const double square = dot(w, w, weights, scratch);
    const double f = column_total(p.sums + m + head, width, p.parts) / mass + 0.5 * p.decay[head] * square;
    bool taken = !s.started;
    if (s.started) {
      const double slope = dot(fresh, d, size, scratch), slack = 8 * p.epsilon * fabs(s.f);
      const bool decreased = f <= s.f + kArmijo * s.t * s.slope || (slope <= (2 * kArmijo - 1) * s.slope && f <= s.f + slack);
      taken = decreased && slope >= kCurvature * s.slope;
      if (taken) {
        remember(s, fresh, g, d, size, scratch);
        ++r.iterations;
      } else {
        (decreased ? s.low : s.high) = s.t;
        s.t = s.high > 1e300 ? 2 * s.t : (s.low + s.high) / 2;
        ++s.trials;
      }
    } else {
      const double norm = sqrt(dot(fresh, fresh, size, scratch));
      s.gamma = 1 / (norm > 1e-30 ? norm : 1e-30), s.stored = s.next = 0, s.started = 1;
    }
    if (taken) {
      for (int64_t e = tid(); e < size; e += threads()) x[e] = e < weights ? w[e] : b[e - weights], g[e] = fresh[e];
      s.f = f;
      direct(s, g, d, size, scratch);
      s.t = 1, s.low = 0, s.high = INFINITY, s.trials = 0;
    }
    const double norm = sqrt(dot(g, g, size, scratch)), floor = 16 * p.epsilon * fabs(s.f);
    const bool stalled = s.trials >= kMaxTrials;
    s.converged = norm <= p.tol || (stalled && fabs(s.slope) <= floor);
    const bool stop = s.converged || stalled || r.iterations >= p.max_iter || !(s.f - s.f == 0);
    for (int64_t e = tid(); !stop && e < size; e += threads()) {
      T* to = e < weights ? w + e : b + (e - weights);
      *to = x[e] + T(s.t) * d[e];
    }
    r.loss = s.f;
    if (tid() == 0) p.search[head] = s, p.report[head] = r, p.done[head] = stop;
  }

  static TLPLAT_DEVICE void remember(LineSearch& s, const T* fresh, const T* g, T* d, int64_t size, double* scratch) {
    T *step = d + (1 + 2 * s.next) * size, *change = step + size;
    for (int64_t e = tid(); e < size; e += threads()) step[e] = T(s.t) * d[e], change[e] = fresh[e] - g[e];
    const double sy = dot(step, change, size, scratch), yy = dot(change, change, size, scratch);
    if (!(sy > 1e-10 * yy)) return;
    s.rho[s.next] = 1 / sy, s.gamma = sy / yy;
    s.next = (s.next + 1) % kMemory;
    s.stored = s.stored < kMemory ? s.stored + 1 : kMemory;
  }

  // d = -H g, by the two loops.
  static TLPLAT_DEVICE void direct(LineSearch& s, const T* g, T* d, int64_t size, double* scratch) {
    double alpha[kMemory];
    for (int64_t e = tid(); e < size; e += threads()) d[e] = g[e];
    for (int i = 0; i < s.stored; ++i) {
      const int j = (s.next + kMemory - 1 - i) % kMemory;
      const T *step = d + (1 + 2 * j) * size, *change = step + size;
      alpha[j] = s.rho[j] * dot(step, d, size, scratch);
      for (int64_t e = tid(); e < size; e += threads()) d[e] -= T(alpha[j]) * change[e];
    }
    for (int64_t e = tid(); e < size; e += threads()) d[e] *= T(-s.gamma);
    for (int i = s.stored - 1; i >= 0; --i) {
      const int j = (s.next + kMemory - 1 - i) % kMemory;
      const T *step = d + (1 + 2 * j) * size, *change = step + size;
      const double beta = -s.rho[j] * dot(change, d, size, scratch);
      for (int64_t e = tid(); e < size; e += threads()) d[e] += T(beta - alpha[j]) * step[e];
    }
    s.slope = dot(g, d, size, scratch);
  }
};

template <class T>
struct HeldArgs {
  const double* sums;
  int32_t parts, classes, heads;
  HeadReport* report;
};

// The held-out losses after the last pass. Grid: (heads), a warp each.
template <class T>
struct HeldKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const HeldArgs<T>&) { return 0; }
  static TLPLAT_DEVICE void run(const HeldArgs<T>& p, unsigned char*) {
    const int64_t m = int64_t(p.heads) * p.classes, width = sums_width(p.heads, p.classes);
    const double mass = column_total(p.sums + m + p.heads + block_x(), width, p.parts);
    const double loss = column_total(p.sums + m + block_x(), width, p.parts);
    if (tid() == 0) p.report[block_x()].held = loss / (mass > 0 ? mass : 1);
  }
};

template <class T>
struct UnpackArgs {
  const T* vectors;        // x of each head
  int32_t classes;
  int64_t d;
  T *w, *bias;
};

// The accepted points to (heads, classes, d) and (heads, classes). Grid: (heads).
template <class T>
struct UnpackKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const UnpackArgs<T>&) { return 0; }
  static TLPLAT_DEVICE void run(const UnpackArgs<T>& p, unsigned char*) {
    const int64_t weights = p.classes * p.d, size = weights + p.classes, head = block_x();
    const T* x = p.vectors + (head * kVectors + 1) * size;
    for (int64_t e = tid(); e < size; e += threads())
      *(e < weights ? p.w + head * weights + e : p.bias + head * p.classes + (e - weights)) = x[e];
  }
};

}  // namespace gpu
}  // namespace tlplat
