// The interface that tlplat/ops/native_fit.py calls: plain C, no torch, no exception leaves it.
#include <memory>
#include <new>

#include "cpu/fit.h"

#define TLPLAT_API extern "C" __attribute__((visibility("default")))

namespace {
struct Handle {
  TlplatHeadProblem problem;
  std::unique_ptr<tlplat::Fit> fit;
};

std::unique_ptr<tlplat::Fit> make(const TlplatHeadProblem& p) {
  auto apart = tlplat::make_apart(p);
  return apart ? std::move(apart) : tlplat::make_together(p);
}
}  // namespace

// Starts a fit; null when memory is short. The problem's arrays must outlive the handle.
TLPLAT_API void* tlplat_heads_create(const TlplatHeadProblem* problem) {
  try {
    auto handle = std::make_unique<Handle>();
    handle->problem = *problem;
    handle->fit = make(handle->problem);
    return handle.release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

// Goes on for about `seconds` or `rounds`: 1 when finished, 0 when there is more to do, -1 when memory or threads are short.
TLPLAT_API int tlplat_heads_run(void* handle, double seconds, int64_t rounds) {
  try {
    return static_cast<Handle*>(handle)->fit->run(seconds, rounds) ? 1 : 0;
  } catch (const std::exception&) {
    return -1;
  }
}

TLPLAT_API void tlplat_heads_result(void* handle) { static_cast<Handle*>(handle)->fit->result(); }

TLPLAT_API void tlplat_heads_free(void* handle) { delete static_cast<Handle*>(handle); }

// 0 generic, 1 AVX2 and FMA, 2 AVX-512: what the CPU has and ATEN_CPU_CAPABILITY allows.
TLPLAT_API int tlplat_best_isa() { return tlplat::best_isa(); }

// Mirrored in Python; a library of another layout is refused.
TLPLAT_API int tlplat_problem_size() { return int(sizeof(TlplatHeadProblem)); }
