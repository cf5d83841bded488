// Launches kernel bodies on a CUDA stream, plainly or as a replayed graph.
#pragma once
#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "passes.h"

namespace tlplat {
namespace gpu {

inline void check(cudaError_t state, const char* what) {
  if (state != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(state));
}

// Blocks of a multiprocessor for which the compiler must save registers.
template <class Kernel>
constexpr int min_blocks() {
  if constexpr (requires { Kernel::kMinBlocks; }) return Kernel::kMinBlocks;
  return 1;
}

template <class Kernel, class Args>
__global__ void __launch_bounds__(Kernel::kMaxThreads, min_blocks<Kernel>()) entry(const __grid_constant__ Args args) {
  extern __shared__ __align__(16) unsigned char shared[];
  Kernel::run(args, shared);
}

// Makes a device the current one for a while.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    check(cudaGetDevice(&before_), "the current device cannot be asked");
    if (before_ != device) check(cudaSetDevice(device), "the device cannot be used");
    changed_ = before_ != device;
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  ~DeviceScope() {
    if (changed_) cudaSetDevice(before_);
  }

 private:
  int before_ = 0;
  bool changed_ = false;
};

// On the stream of the caller; the device is current.
class StreamBackend {
 public:
  using Scope = DeviceScope;

  StreamBackend(int device, cudaStream_t stream) : device_(device), stream_(stream) {
    int major = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_), "the device cannot be asked");
    if (major < 8) throw std::runtime_error("the GPU's compute capability is below 8.0");
    early_ = major >= 9;
  }

  Limits limits() const {
    int sms = 0, shared = 0;
    check(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device_), "the device cannot be asked");
    check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_), "the device cannot be asked");
    return {sms, shared, false, int64_t(8) << 20};
  }

  template <class Kernel, class Args>
  void launch(Grid grid, int threads, const Args& args, Start start = Start::kAfter);

  void upload(void* to, const void* from, size_t bytes) { move(to, from, bytes, cudaMemcpyHostToDevice); }
  void copy(void* to, const void* from, int64_t bytes) { move(to, from, size_t(bytes), cudaMemcpyDeviceToDevice); }
  void zero(void* to, int64_t bytes) { check(cudaMemsetAsync(to, 0, size_t(bytes), stream_), "a memset"); }
  // Waits for the stream.
  void download(void* to, const void* from, size_t bytes) {
    move(to, from, bytes, cudaMemcpyDeviceToHost);
    check(cudaStreamSynchronize(stream_), "the kernels");
  }

 protected:
  void move(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    check(cudaMemcpyAsync(to, from, bytes, kind, stream_), "a copy");
  }
  int device_;
  cudaStream_t stream_;
  bool early_ = false;  // whether the device lets a launch begin early
};

// Not inside the class, where it would be inline: then `extern template` would compile the kernels all the same.
template <class Kernel, class Args>
void StreamBackend::launch(Grid grid, int threads, const Args& args, Start start) {
  const int64_t shared = Kernel::shared_bytes(args);
  auto* kernel = entry<Kernel, Args>;
  if (shared > (48 << 10))
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)), "shared memory");
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t how{};
  how.gridDim = dim3(unsigned(grid.x), unsigned(grid.y), unsigned(grid.z)), how.blockDim = dim3(unsigned(threads));
  how.dynamicSmemBytes = size_t(shared), how.stream = stream_;
  how.attrs = &early, how.numAttrs = start == Start::kEarly && early_ ? 1 : 0;
  check(cudaLaunchKernelEx(&how, kernel, args), "a launch");
}

// On a stream of its own, which can be captured, after what the caller's stream holds.
class GraphBackend : public StreamBackend {
 public:
  using Graph = std::function<void()>;

  GraphBackend(int device, void* after) : StreamBackend(device, nullptr) {
    check(cudaStreamSynchronize(static_cast<cudaStream_t>(after)), "work before the fit");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
  }
  GraphBackend(const GraphBackend&) = delete;
  GraphBackend& operator=(const GraphBackend&) = delete;
  ~GraphBackend() {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }

  // What replays `launches`: one graph launch, or the launches themselves where a graph would be too long.
  Graph record(int64_t count, const std::function<void()>& launches) {
    if (count > kLongestGraph) return launches;
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "a capture");
    std::exception_ptr fault;
    try {
      launches();
    } catch (const std::exception&) {
      fault = std::current_exception();
    }
    const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
    if (fault) std::rethrow_exception(fault);
    check(ended, "a capture");
    cudaGraphExec_t ready = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&ready, graph, 0);
    cudaGraphDestroy(graph);
    check(made, "a graph");
    const std::shared_ptr<CUgraphExec_st> kept(ready, [](cudaGraphExec_t g) { cudaGraphExecDestroy(g); });
    return [this, kept] { check(cudaGraphLaunch(kept.get(), stream_), "a graph's launch"); };
  }

 private:
  static constexpr int64_t kLongestGraph = 4096;
};

}  // namespace gpu
}  // namespace tlplat
