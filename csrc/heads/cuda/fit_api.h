// The C interface of the device fit, the same for CUDA (fit.cu) and for the SIMT shim (simt/heads.cpp). No exception leaves
// it; tlplat_cuda_error() says what went wrong.
#pragma once
#include <string>

#include "fit.h"

namespace tlplat {
namespace gpu {

inline std::string& last_error() {
  thread_local std::string message;
  return message;
}

template <class F, class R>
R guarded(F f, R failed) {
  try {
    return f();
  } catch (const std::exception& error) {
    last_error() = error.what();
    return failed;
  }
}

template <class Backend>
struct FitHandle {
  template <class... A>
  explicit FitHandle(const TlplatCudaFit& p, unsigned char* workspace, A... a)
      : backend(a...), fit(make_fit(backend, backend.limits(), p, workspace)) {}
  Backend backend;
  std::unique_ptr<Fit> fit;
};

}  // namespace gpu
}  // namespace tlplat

#define TLPLAT_API extern "C" __attribute__((visibility("default")))

// Defines the interface for a backend that is made from (device, stream).
#define TLPLAT_DEFINE_FIT_API(Backend)                                                                                 \
  using Handle_ = tlplat::gpu::FitHandle<Backend>;                                                                     \
  TLPLAT_API int64_t tlplat_cuda_fit_bytes(const TlplatCudaFit* p, int device) {                                       \
    return tlplat::gpu::guarded(                                                                                       \
        [&] {                                                                                                          \
          Backend backend(device, nullptr);                                                                            \
          return tlplat::gpu::fit_bytes(backend, backend.limits(), *p);                                                \
        },                                                                                                             \
        int64_t(-1));                                                                                                  \
  }                                                                                                                    \
  TLPLAT_API void* tlplat_cuda_fit_create(const TlplatCudaFit* p, void* workspace, int device, void* stream) {         \
    return tlplat::gpu::guarded(                                                                                       \
        [&]() -> void* { return new Handle_(*p, static_cast<unsigned char*>(workspace), device, stream); },            \
        static_cast<void*>(nullptr));                                                                                  \
  }                                                                                                                    \
  TLPLAT_API int tlplat_cuda_fit_run(void* handle, double seconds, int64_t rounds) {                                   \
    return tlplat::gpu::guarded([&] { return static_cast<Handle_*>(handle)->fit->run(seconds, rounds) ? 1 : 0; }, -1); \
  }                                                                                                                    \
  TLPLAT_API int tlplat_cuda_fit_result(void* handle) {                                                                \
    return tlplat::gpu::guarded([&] { return static_cast<Handle_*>(handle)->fit->result(), 1; }, -1);                  \
  }                                                                                                                    \
  TLPLAT_API void tlplat_cuda_fit_free(void* handle) { delete static_cast<Handle_*>(handle); }                         \
  TLPLAT_API const char* tlplat_cuda_error() { return tlplat::gpu::last_error().c_str(); }                             \
  TLPLAT_API int tlplat_cuda_fit_size() { return int(sizeof(TlplatCudaFit)); }
