// CUDA's execution model on one CPU thread: a fiber (ucontext) a CUDA thread, warps run in a random order that a seed
// decides. A fiber runs until it meets a barrier or an exchange of its warp, so that code which forgot one sees memory
// that other warps have not written yet, or have already overwritten.
#pragma once
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace simt {

constexpr int kWarp = 32;
constexpr int kSlotBytes = 32;  // the most that a lane hands to its warp in one exchange

struct Dim {
  int x = 1, y = 1, z = 1;
};

// What a fault of the kernel, not of its numbers, looks like: a deadlock, or lanes at different barriers.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Runs `body(shared)` for every thread of the grid. Blocks run one after another in random order; shared memory starts as
// NaN. Throws Fault.
void launch(Dim grid, int threads, size_t shared_bytes, const std::function<void(unsigned char*)>& body);

void set_seed(uint64_t seed);  // of the launches to come
void drop_barrier(const std::string& name);       // TLPLAT_SYNC(name) does nothing; "" for none
std::vector<std::string> barriers_met();          // the names of all barriers that any launch has met
int barrier_id(const char* name);                 // used by TLPLAT_SYNC

// Inside a kernel.
int thread_index();
int block_threads();
Dim block_index();
Dim grid_size();
void sync_threads(int barrier);
void sync_warp(int barrier);

namespace detail {
unsigned char* deposit(const void* value, size_t bytes);  // waits for the warp; returns its 32 slots
}

// The values that the 32 lanes of a warp handed in.
template <class T>
class Lanes {
 public:
  explicit Lanes(const unsigned char* slots) : slots_(slots) {}
  T operator[](int lane) const {
    T value;
    std::memcpy(&value, slots_ + lane * kSlotBytes, sizeof(T));
    return value;
  }

 private:
  const unsigned char* slots_;
};

// Every lane of the warp hands in a value and sees those of all; valid until the lane's next exchange but one.
template <class T>
Lanes<T> exchange(const T& value) {
  static_assert(sizeof(T) <= kSlotBytes);
  return Lanes<T>(detail::deposit(&value, sizeof(T)));
}

}  // namespace simt
