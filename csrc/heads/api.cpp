// The interface that tlplat/ops/native_fit.py calls: plain C, no torch, no exception leaves it.
#include <memory>
#include <new>

#include "cpu/fit.h"

#define TLPLAT_API extern "C" __attribute__((visibility("default")))

namespace {
struct Handle {
  TlplatHeadProblem problem;
  std::vector<int32_t> path;
  std::vector<double> moments;
  std::unique_ptr<tlplat::Fit> fit;
};

void prepare_lbfgs(Handle& handle) {
  TlplatHeadProblem& p = handle.problem;
  if (p.from_zero) {
    handle.path = tlplat::number_paths(p);
    p.path = handle.path.data();
  }
  if (p.spectrum) return;
  handle.moments.resize(size_t(2 * p.d));
  double *centre = handle.moments.data(), *square = centre + p.d;
  p.compute == TLPLAT_F64 ? tlplat::column_moments<double>(p, centre, square) : tlplat::column_moments<float>(p, centre, square);
  p.centre = centre, p.spectrum = square;
}

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
    if (problem->solver == TLPLAT_LBFGS) prepare_lbfgs(*handle);
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
