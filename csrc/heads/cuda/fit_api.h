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
  FitHandle(const TlplatCudaFit& p, unsigned char* workspace, int device, void* stream)
      : device(device), backend(device, stream), fit(make_fit(backend, backend.limits(), p, workspace)) {}
  int device;
  Backend backend;
  std::unique_ptr<Fit> fit;
};

}  // namespace gpu
}  // namespace tlplat

#define TLPLAT_API extern "C" __attribute__((visibility("default")))

// Defines the interface for a backend that is made from (device, stream), with a Scope that makes a device the current one.
#define TLPLAT_DEFINE_FIT_API(Backend)                                                                                 \
  using Handle_ = tlplat::gpu::FitHandle<Backend>;                                                                     \
  TLPLAT_API int64_t tlplat_cuda_fit_bytes(const TlplatCudaFit* p, int device) {                                       \
    return tlplat::gpu::guarded(                                                                                       \
        [&] {                                                                                                          \
          const Backend::Scope scope(device);                                                                          \
          Backend backend(device, nullptr);                                                                            \
          return tlplat::gpu::fit_bytes(backend, backend.limits(), *p);                                                \
        },                                                                                                             \
        int64_t(-1));                                                                                                  \
  }                                                                                                                    \
  TLPLAT_API void* tlplat_cuda_fit_create(const TlplatCudaFit* p, void* workspace, int device, void* stream) {         \
    return tlplat::gpu::guarded(                                                                                       \
        [&]() -> void* {                                                                                               \
          const Backend::Scope scope(device);                                                                          \
          return new Handle_(*p, static_cast<unsigned char*>(workspace), device, stream);                              \
        },                                                                                                             \
        static_cast<void*>(nullptr));                                                                                  \
  }                                                                                                                    \
  TLPLAT_API int tlplat_cuda_fit_run(void* handle, double seconds, int64_t rounds) {                                   \
    return tlplat::gpu::guarded(                                                                                       \
        [&] {                                                                                                          \
          const Backend::Scope scope(static_cast<Handle_*>(handle)->device);                                           \
          return static_cast<Handle_*>(handle)->fit->run(seconds, rounds) ? 1 : 0;                                     \
        },                                                                                                             \
        -1);                                                                                                           \
  }                                                                                                                    \
  TLPLAT_API int tlplat_cuda_fit_result(void* handle) {                                                                \
    return tlplat::gpu::guarded(                                                                                       \
        [&] {                                                                                                          \
          const Backend::Scope scope(static_cast<Handle_*>(handle)->device);                                           \
          return static_cast<Handle_*>(handle)->fit->result(), 1;                                                      \
        },                                                                                                             \
        -1);                                                                                                           \
  }                                                                                                                    \
  TLPLAT_API void tlplat_cuda_fit_free(void* handle) {                                                                 \
    tlplat::gpu::guarded(                                                                                              \
        [&] {                                                                                                          \
          const Backend::Scope scope(static_cast<Handle_*>(handle)->device);                                           \
          return delete static_cast<Handle_*>(handle), 1;                                                              \
        },                                                                                                             \
        -1);                                                                                                           \
  }                                                                                                                    \
  TLPLAT_API const char* tlplat_cuda_error() { return tlplat::gpu::last_error().c_str(); }                             \
  TLPLAT_API int tlplat_cuda_fit_size() { return int(sizeof(TlplatCudaFit)); }
