#include "simt.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <map>
#include <memory>
#include <random>
#include <set>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace simt {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 256 * 1024;
#else
constexpr size_t kStack = 64 * 1024;
#endif

enum class State { kReady, kAtBarrier, kAtWarp, kDone };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  int thread = 0;
  State state = State::kReady;
  int barrier = -1;
  void* fake_stack = nullptr;
  jmp_buf jump;
  bool started = false;
};

struct Warp {
  alignas(64) unsigned char slot[2][kWarp * kSlotBytes];
  int arrived = 0, generation = 0, barrier = -1;
};

struct Settings {
  std::mt19937_64 random{0};
  std::vector<std::string> names;
  std::set<int> met;
  int dropped = -1;
};
Settings& settings() {
  static Settings s;
  return s;
}

// One block at work.
struct Block {
  Dim index, grid;
  int threads = 0, arrived = 0, running = 0;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  const std::function<void(unsigned char*)>* body = nullptr;
  unsigned char* shared = nullptr;
  ucontext_t scheduler;
  jmp_buf scheduler_jump;
  void* scheduler_fake_stack = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_bytes = 0;
  std::string fault;
};
Block* block = nullptr;
Fiber* fiber = nullptr;

// A fiber starts by swapcontext, which makes two system calls; from then on it is left and entered by longjmp, which makes
// none. AddressSanitizer has to be told of the stacks and knows swapcontext only.
#if defined(__SANITIZE_ADDRESS__)
void leave(bool last) {
  Fiber* self = fiber;
  __sanitizer_start_switch_fiber(last ? nullptr : &self->fake_stack, block->scheduler_stack, block->scheduler_bytes);
  swapcontext(&self->context, &block->scheduler);
  __sanitizer_finish_switch_fiber(self->fake_stack, &block->scheduler_stack, &block->scheduler_bytes);
}

void enter(Fiber& f) {
  fiber = &f;
  __sanitizer_start_switch_fiber(&block->scheduler_fake_stack, f.stack.get(), kStack);
  swapcontext(&block->scheduler, &f.context);
  __sanitizer_finish_switch_fiber(block->scheduler_fake_stack, nullptr, nullptr);
}
#else
void leave(bool) {
  if (_setjmp(fiber->jump) == 0) _longjmp(block->scheduler_jump, 1);
}

void enter(Fiber& f) {
  fiber = &f;
  if (_setjmp(block->scheduler_jump) != 0) return;
  if (f.started) _longjmp(f.jump, 1);
  f.started = true;
  swapcontext(&block->scheduler, &f.context);
}
#endif

void trampoline() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &block->scheduler_stack, &block->scheduler_bytes);
#endif
  (*block->body)(block->shared);
  fiber->state = State::kDone;
  --block->running;
  leave(true);
}

std::vector<std::unique_ptr<char[]>>& spare_stacks() {
  static std::vector<std::unique_ptr<char[]>> stacks;
  return stacks;
}

void start(Block& b) {
  b.fibers = std::vector<Fiber>(size_t(b.threads));
  b.warps = std::vector<Warp>(size_t(b.threads / kWarp));
  b.running = b.threads;
  auto& spare = spare_stacks();
  for (int i = 0; i < b.threads; ++i) {
    Fiber& f = b.fibers[size_t(i)];
    f.thread = i;
    if (spare.empty()) spare.emplace_back(new char[kStack]);
    f.stack = std::move(spare.back());
    spare.pop_back();
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = kStack;
    f.context.uc_link = nullptr;
    makecontext(&f.context, trampoline, 0);
  }
}

// Runs the ready lanes of warps drawn at random until all threads are done.
void schedule(Block& b) {
  auto& random = settings().random;
  std::vector<int> warps(b.warps.size()), lanes(kWarp);
  for (size_t i = 0; i < warps.size(); ++i) warps[i] = int(i);
  for (int i = 0; i < kWarp; ++i) lanes[size_t(i)] = i;
  while (b.running > 0) {
    std::shuffle(warps.begin(), warps.end(), random);
    bool ran = false;
    for (int w : warps) {
      // One warp goes as far as it can, through its exchanges, before another is drawn.
      for (bool more = true; more;) {
        more = false;
        std::shuffle(lanes.begin(), lanes.end(), random);
        for (int lane : lanes) {
          Fiber& f = b.fibers[size_t(w * kWarp + lane)];
          if (f.state != State::kReady) continue;
          enter(f);
          ran = more = true;
          if (!b.fault.empty()) throw Fault(b.fault);
        }
      }
      if (ran && random() % 2 == 0) break;
    }
    if (ran) continue;
    int at_barrier = 0, at_warp = 0;
    for (const Fiber& f : b.fibers) at_barrier += f.state == State::kAtBarrier, at_warp += f.state == State::kAtWarp;
    throw Fault("deadlock: " + std::to_string(at_barrier) + " threads at a block barrier, " + std::to_string(at_warp) +
                " at a warp exchange, " + std::to_string(b.threads - b.running) + " returned");
  }
}

std::string name_of(int barrier) { return barrier < 0 ? "an exchange" : settings().names[size_t(barrier)]; }

void arrive_at_warp(int barrier) {
  Warp& w = block->warps[size_t(fiber->thread / kWarp)];
  if (w.arrived && w.barrier != barrier)
    block->fault = "lanes of a warp wait at " + name_of(w.barrier) + " and at " + name_of(barrier);
  w.barrier = barrier;
  if (++w.arrived < kWarp) {
    fiber->state = State::kAtWarp;
    leave(false);
    return;
  }
  w.arrived = 0;
  ++w.generation;
  const int first = fiber->thread / kWarp * kWarp;
  for (int i = first; i < first + kWarp; ++i) block->fibers[size_t(i)].state = State::kReady;
}

bool dropped(int barrier) {
  settings().met.insert(barrier);
  return barrier == settings().dropped;
}

}  // namespace

void launch(Dim grid, int threads, size_t shared_bytes, const std::function<void(unsigned char*)>& body) {
  if (threads < kWarp || threads > 1024 || threads % kWarp) throw Fault("a block of " + std::to_string(threads) + " threads");
  if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.y > 65535 || grid.z > 65535) throw Fault("an impossible grid");
  std::vector<int64_t> blocks(size_t(grid.x) * size_t(grid.y) * size_t(grid.z));
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = int64_t(i);
  std::shuffle(blocks.begin(), blocks.end(), settings().random);
  for (int64_t i : blocks) {
    // Of the exact size, so that AddressSanitizer sees an overrun.
    std::unique_ptr<unsigned char[]> shared(new unsigned char[shared_bytes]);
    std::memset(shared.get(), 0xff, shared_bytes);
    Block b;
    b.index = {int(i % grid.x), int(i / grid.x % grid.y), int(i / grid.x / grid.y)};
    b.grid = grid, b.threads = threads, b.body = &body, b.shared = shared.get();
    block = &b;
    start(b);
    std::exception_ptr fault;
    try {
      schedule(b);
    } catch (const Fault&) {
      fault = std::current_exception();
    }
    for (Fiber& f : b.fibers) spare_stacks().push_back(std::move(f.stack));
    block = nullptr;
    if (fault) std::rethrow_exception(fault);
  }
}

void set_seed(uint64_t seed) { settings().random.seed(seed); }

int barrier_id(const char* name) {
  auto& names = settings().names;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return int(found - names.begin());
  names.emplace_back(name);
  return int(names.size()) - 1;
}

void drop_barrier(const std::string& name) { settings().dropped = name.empty() ? -1 : barrier_id(name.c_str()); }

std::vector<std::string> barriers_met() {
  std::vector<std::string> names;
  for (int id : settings().met) names.push_back(name_of(id));
  return names;
}

int thread_index() { return fiber->thread; }
int block_threads() { return block->threads; }
Dim block_index() { return block->index; }
Dim grid_size() { return block->grid; }

void sync_threads(int barrier) {
  if (dropped(barrier)) return;
  fiber->barrier = barrier;
  if (++block->arrived < block->threads) {
    fiber->state = State::kAtBarrier;
    leave(false);
    return;
  }
  block->arrived = 0;
  for (Fiber& f : block->fibers) {
    if (f.barrier != barrier) block->fault = "threads of a block wait at " + name_of(f.barrier) + " and at " + name_of(barrier);
    f.state = State::kReady;
  }
}

void sync_warp(int barrier) {
  if (!dropped(barrier)) arrive_at_warp(barrier);
}

unsigned char* detail::deposit(const void* value, size_t bytes) {
  Warp& w = block->warps[size_t(fiber->thread / kWarp)];
  unsigned char* slots = w.slot[w.generation & 1];
  std::memcpy(slots + fiber->thread % kWarp * kSlotBytes, value, bytes);
  arrive_at_warp(-1);
  return slots;
}

}  // namespace simt
