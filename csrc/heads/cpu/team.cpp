// See team.h.
#include "team.h"

#include <thread>
#include <vector>

namespace tlplat {

void Team::spawn(void (*work)(void*, int), void* given) {
  std::vector<std::thread> others;
  others.reserve(size_t(size_));
  for (int i = 1; i < size_; ++i) others.emplace_back(work, given, i);
  work(given, 0);
  for (auto& t : others) t.join();
}

// Spins for some microseconds, then sleeps.
void Team::wait(uint32_t round) {
  for (int i = 0; i < 4000; ++i) {
    if (round_.load(std::memory_order_acquire) != round) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  round_.wait(round, std::memory_order_acquire);
}

void Team::publish(uint32_t round) {
  round_.store(round, std::memory_order_release);
  round_.notify_all();
}

}  // namespace tlplat
