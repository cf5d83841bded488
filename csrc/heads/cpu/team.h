// A team of threads for one call: spawned at its start, joined at its end. No pool outlives the call, so that fork, other
// OpenMP runtimes and 8 callers at once are harmless.
#pragma once
#include <atomic>
#include <cstdint>

namespace tlplat {

class alignas(128) Team {
 public:
  // At most kMost threads.
  static constexpr int kMost = 32;

  explicit Team(int size) : size_(size < kMost ? size : kMost) {}
  int size() const { return size_; }

  // Runs work(thread) on every thread of the team, this one included. `work` must not throw.
  template <class Work>
  void run(Work work) {
    spawn([](void* given, int thread) { (*static_cast<Work*>(given))(thread); }, &work);
  }

  // Rounds of work(thread, chunk), chunk = 0 ... size - 1, between which one thread calls next() and ends them where that
  // is false. A thread takes its own chunk, then those that nobody has taken yet: where other programs hold a thread up, the
  // rest go on. A `Guard` lives on every thread meanwhile. Neither `work` nor `next` must throw.
  template <class Guard, class Work, class Next>
  void rounds(Work work, Next next) {
    taken_.store(0, std::memory_order_relaxed), done_.store(0, std::memory_order_relaxed);
    round_.store(0, std::memory_order_relaxed);
    run([&](int me) {
      const Guard guard;
      for (;;) {
        uint64_t state = taken_.load(std::memory_order_acquire);  // the round, and a bit for each chunk that is taken
        const uint32_t round = uint32_t(state >> 32), free = ~uint32_t(state) & mask();
        if (round == kOver) return;
        if (!free) {
          wait(round);
          continue;
        }
        const int chunk = free >> me & 1 ? me : __builtin_ctz(free);
        if (!taken_.compare_exchange_weak(state, state | uint64_t(1) << chunk, std::memory_order_acq_rel)) continue;
        work(me, chunk);
        if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 < size_) continue;
        done_.store(0, std::memory_order_relaxed);
        const uint32_t after = next() ? (round + 1) & (kOver >> 1) : kOver;
        taken_.store(uint64_t(after) << 32, std::memory_order_release);
        publish(after);
      }
    });
  }

  // The part of [0, n) that a chunk is, in multiples of `grain`.
  void share(int chunk, int64_t n, int64_t grain, int64_t* begin, int64_t* end) const {
    const int64_t each = ((n + size_ - 1) / size_ + grain - 1) / grain * grain;
    *begin = each * chunk < n ? each * chunk : n;
    *end = *begin + each < n ? *begin + each : n;
  }

 private:
  static constexpr uint32_t kOver = ~uint32_t(0);

  uint32_t mask() const { return size_ == 32 ? ~uint32_t(0) : (uint32_t(1) << size_) - 1; }

  void spawn(void (*work)(void*, int), void* given);
  void wait(uint32_t round);  // until it is over
  void publish(uint32_t round);

  const int size_;
  std::atomic<uint64_t> taken_{0};
  std::atomic<int> done_{0};
  std::atomic<uint32_t> round_{0};
};

}  // namespace tlplat
