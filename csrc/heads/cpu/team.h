// A team of threads for one call: spawned at its start, joined at its end. No pool outlives the call, so that fork, other
// OpenMP runtimes and 8 callers at once are harmless.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tlplat {

class Team {
 public:
  explicit Team(int size) : size_(size) {}
  int size() const { return size_; }

  // Runs work(thread) on every thread of the team, this one included. `work` must not throw.
  template <class Work>
  void run(Work work) {
    std::vector<std::thread> others;
    others.reserve(size_t(size_));
    for (int i = 1; i < size_; ++i) others.emplace_back([&work, i] { work(i); });
    work(0);
    for (auto& t : others) t.join();
  }

  // Waits for all: spins for some microseconds, then sleeps.
  void barrier() {
    if (size_ == 1) return;
    const uint32_t generation = generation_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
      arrived_.store(0, std::memory_order_relaxed);
      generation_.store(generation + 1, std::memory_order_release);
      generation_.notify_all();
      return;
    }
    for (int i = 0; i < 4000; ++i) {
      if (generation_.load(std::memory_order_acquire) != generation) return;
#if defined(__x86_64__)
      _mm_pause();
#endif
    }
    while (generation_.load(std::memory_order_acquire) == generation) generation_.wait(generation);
  }

  // The part of [0, n) that a thread owns, in multiples of `grain`.
  void share(int thread, int64_t n, int64_t grain, int64_t* begin, int64_t* end) const {
    const int64_t each = ((n + size_ - 1) / size_ + grain - 1) / grain * grain;
    *begin = each * thread < n ? each * thread : n;
    *end = *begin + each < n ? *begin + each : n;
  }

 private:
  const int size_;
  std::atomic<int> arrived_{0};
  std::atomic<uint32_t> generation_{0};
};

}  // namespace tlplat
