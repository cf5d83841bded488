// The order of rows in an epoch, made on the device: the same bijection as tlplat/ops/order.py, which explains it.
#pragma once
#include "../../simt/device.h"

namespace tlplat {
namespace gpu {

struct OrderArgs {
  const int64_t* seed;    // (groups,)
  const int64_t* epoch;   // on the device, so that a captured graph can be replayed
  int64_t n;
  int32_t* count;         // (groups, segments): kept numbers of each segment
  int32_t* order;         // (groups, n)
  int32_t segments;
};

constexpr int kOrderThreads = 256;

struct Bijection {
  uint32_t odd[4], key[4], mask;
  int shift;
  int64_t domain;

  static TLPLAT_DEVICE uint64_t splitmix(uint64_t x) {
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  }

  TLPLAT_DEVICE Bijection(int64_t n, int64_t seed, int64_t epoch) {
    int bits = 2;
    while ((int64_t(1) << bits) < n) ++bits;
    domain = int64_t(1) << bits, mask = uint32_t(domain - 1), shift = bits / 2;
    uint64_t state = splitmix(splitmix(uint64_t(seed)) ^ uint64_t(epoch));
    for (int i = 0; i < 4; ++i) {
      state = splitmix(state);
      odd[i] = uint32_t(state & 0x7FFFFFFF) | 1, key[i] = uint32_t(state >> 32) & 0x7FFFFFFF;
    }
  }

  TLPLAT_DEVICE uint32_t operator()(uint32_t x) const {
    for (int i = 0; i < 4; ++i) {
      x = (x * odd[i] + key[i]) & mask;
      x ^= x >> (shift + (i & 1));
    }
    return x;
  }
};

// Visits the segment's numbers in order, a block of threads at a time: f(image, kept before it in this segment, kept).
// Returns how many are kept. `counts` holds a number a warp.
template <class F>
TLPLAT_DEVICE int32_t walk_segment(const OrderArgs& p, int32_t* counts, F f) {
  const Bijection map(p.n, p.seed[block_y()], *p.epoch);
  const int64_t each = (map.domain + p.segments - 1) / p.segments, begin = each * block_x();
  const int64_t end = begin + each < map.domain ? begin + each : map.domain;
  int32_t before = 0;
  for (int64_t base = begin; base < end; base += threads()) {
    const uint32_t image = map(uint32_t(base + tid()));
    const bool kept = base + tid() < end && image < uint64_t(p.n);
    const uint32_t votes = ballot(kept);
    TLPLAT_SYNC(order_reuse);
    if (tid() % 32 == 0) counts[tid() / 32] = popcount(votes);
    TLPLAT_SYNC(order_counts);
    int32_t at = before + popcount(votes & ((1u << tid() % 32) - 1));
    for (int w = 0; w < threads() / 32; ++w) {
      if (w < tid() / 32) at += counts[w];
      before += counts[w];
    }
    f(int32_t(image), at, kept);
  }
  return before;
}

// Grid of both: (segments, groups).
struct OrderCountKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const OrderArgs&) { return kOrderThreads / 32 * 4; }
  static TLPLAT_DEVICE void run(const OrderArgs& p, unsigned char* shared) {
    const int32_t kept = walk_segment(p, reinterpret_cast<int32_t*>(shared), [](int32_t, int32_t, bool) {});
    if (tid() == 0) p.count[block_y() * p.segments + block_x()] = kept;
  }
};

struct OrderWriteKernel {
  static constexpr int kMaxThreads = 256;
  static int64_t shared_bytes(const OrderArgs&) { return kOrderThreads / 32 * 4; }
  static TLPLAT_DEVICE void run(const OrderArgs& p, unsigned char* shared) {
    int32_t start = 0;
    for (int s = 0; s < block_x(); ++s) start += p.count[block_y() * p.segments + s];
    int32_t* out = p.order + block_y() * p.n;
    walk_segment(p, reinterpret_cast<int32_t*>(shared), [&](int32_t image, int32_t at, bool kept) {
      if (kept) out[start + at] = image;
    });
  }
};

}  // namespace gpu
}  // namespace tlplat
