// The order of rows in an epoch; the same bijection as tlplat/ops/order.py, which explains it.
#pragma once
#include <cstdint>

namespace tlplat {

inline uint64_t splitmix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// Writes a permutation of [0, n) to order (n,); n < 2^31.
inline void epoch_order(int64_t n, int64_t seed, int64_t epoch, int32_t* order) {
  int bits = 2;
  while ((int64_t(1) << bits) < n) ++bits;
  const uint32_t mask = uint32_t((uint64_t(1) << bits) - 1);
  uint32_t odd[4], key[4];
  uint64_t state = splitmix(splitmix(uint64_t(seed)) ^ uint64_t(epoch));
  for (int i = 0; i < 4; ++i) {
    state = splitmix(state);
    odd[i] = uint32_t(state & 0x7FFFFFFF) | 1, key[i] = uint32_t(state >> 32) & 0x7FFFFFFF;
  }
  const int shift = bits / 2;
  constexpr int kBlock = 256;
  uint32_t block[kBlock];
  int64_t kept = 0;
  const int64_t domain = int64_t(1) << bits;
  for (int64_t base = 0; base < domain; base += kBlock) {
    const int count = int(domain - base < kBlock ? domain - base : kBlock);
    for (int j = 0; j < count; ++j) {
      uint32_t x = uint32_t(base) + uint32_t(j);
      for (int i = 0; i < 4; ++i) {
        x = (x * odd[i] + key[i]) & mask;
        x ^= x >> (shift + (i & 1));
      }
      block[j] = x;
    }
    for (int j = 0; j < count && kept < n; ++j) {
      order[kept] = int32_t(block[j]);
      kept += block[j] < uint32_t(n);
    }
  }
}

}  // namespace tlplat
