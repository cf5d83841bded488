// The torch face of softmax_head_loss and softmax_head_predict on CUDA (stable ABI, torch 2.11 and later): checks, buffers,
// stream; the work is in passes.h. Everything is queued on the current stream and nothing waits: labels are checked by the
// caller, and a label out of range makes the loss NaN.
#if !defined(USE_CUDA)
#define USE_CUDA  // torch declares its CUDA streams only then
#endif
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>
#include <vector>

#include "kernels.cuh"

namespace tlplat {
namespace gpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

int32_t dtype_of(const Tensor& t, const char* name) {
  switch (t.scalar_type()) {
    case ScalarType::Float: return TLPLAT_F32;
    case ScalarType::Double: return TLPLAT_F64;
    case ScalarType::BFloat16: return TLPLAT_BF16;
    case ScalarType::Half: return TLPLAT_F16;
    default: STD_TORCH_CHECK(false, name, " has a dtype that is none of float32, float64, bfloat16, float16");
  }
}

void same_device(const Tensor& z, const std::optional<Tensor>& t, const char* name) {
  STD_TORCH_CHECK(!t || (t->is_cuda() && t->get_device() == z.get_device()), name, " is not on the same device as z");
}

// (length,) of T, contiguous.
template <class T>
const T* vector_of(const Tensor& z, const std::optional<Tensor>& t, int64_t length, const char* name) {
  if (!t) return nullptr;
  same_device(z, t, name);
  STD_TORCH_CHECK(t->dim() == 1 && t->size(0) == length, name, " must have shape (", length, ",)");
  STD_TORCH_CHECK(t->is_contiguous(), name, " must be contiguous");
  STD_TORCH_CHECK(dtype_of(*t, name) == (sizeof(T) == 4 ? TLPLAT_F32 : TLPLAT_F64), name, " must have weight's dtype");
  return static_cast<const T*>(t->const_data_ptr());
}

template <class T>
Rows<T> rows_of(const Tensor& z, const Tensor& weight) {
  same_device(z, weight, "weight");
  STD_TORCH_CHECK(z.dim() == 2 && weight.dim() == 2, "z must be (n, d) and weight (C, d)");
  STD_TORCH_CHECK(z.size(1) == weight.size(1), "z has ", z.size(1), " features, weight ", weight.size(1));
  STD_TORCH_CHECK(z.size(1) < 2 || z.stride(1) == 1, "z must have unit stride along d");
  STD_TORCH_CHECK(weight.is_contiguous() && weight.size(0) >= 1, "weight must be contiguous, with C >= 1");
  STD_TORCH_CHECK(z.size(0) < (int64_t(1) << 31), "z must have less than 2**31 rows");
  Rows<T> rows{};
  rows.z = z.const_data_ptr(), rows.z_dtype = dtype_of(z, "z");
  rows.n = z.size(0), rows.d = z.size(1), rows.z_stride = z.stride(0);
  return rows;
}

StreamBackend backend_of(const Tensor& z) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(z.get_device(), &stream));
  return StreamBackend(z.get_device(), static_cast<cudaStream_t>(stream));
}

Tensor workspace_of(const Tensor& z, int64_t bytes) { return torch::stable::new_empty(z, std::vector<int64_t>{bytes}, ScalarType::Byte); }

template <class T>
std::tuple<Tensor, Tensor, Tensor> loss_of(
    const Tensor& z, const Tensor& y, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& class_weight, const std::optional<Tensor>& sample_weight, double smoothing,
    int64_t ignore_index, int64_t reduction, bool need_grad) {
  Rows<T> rows = rows_of<T>(z, weight);
  const int64_t classes = weight.size(0);
  same_device(z, y, "y");
  STD_TORCH_CHECK(y.dim() == 1 && y.size(0) == rows.n && y.is_contiguous() && y.scalar_type() == ScalarType::Long,
                  "y must be (n,) int64, contiguous");
  rows.y = static_cast<const int64_t*>(y.const_data_ptr()), rows.ignore_index = ignore_index, rows.smoothing = T(smoothing);
  rows.class_weight = vector_of<T>(z, class_weight, classes, "class_weight");
  rows.weight = vector_of<T>(z, sample_weight, rows.n, "sample_weight");
  const T* b = vector_of<T>(z, bias, classes, "bias");
  const torch::stable::accelerator::DeviceGuard guard(z.get_device());
  StreamBackend backend = backend_of(z);
  OneHead<T> head(backend.limits(), rows, classes, need_grad);
  Tensor space = workspace_of(z, head.bytes());
  Tensor loss = torch::stable::new_empty(weight, reduction == 0 ? std::vector<int64_t>{rows.n} : std::vector<int64_t>{});
  Tensor grad_w = torch::stable::new_empty(weight, std::vector<int64_t>{need_grad ? classes : 0, rows.d});
  Tensor grad_b = torch::stable::new_empty(weight, std::vector<int64_t>{need_grad ? classes : 0});
  head.loss(backend, static_cast<unsigned char*>(space.mutable_data_ptr()), static_cast<const T*>(weight.const_data_ptr()), b,
            reduction, static_cast<T*>(loss.mutable_data_ptr()), static_cast<T*>(grad_w.mutable_data_ptr()),
            static_cast<T*>(grad_b.mutable_data_ptr()));
  return {loss, grad_w, grad_b};
}

template <class T>
Tensor predict_of(const Tensor& z, const Tensor& weight, const std::optional<Tensor>& bias) {
  const Rows<T> rows = rows_of<T>(z, weight);
  const T* b = vector_of<T>(z, bias, weight.size(0), "bias");
  const torch::stable::accelerator::DeviceGuard guard(z.get_device());
  StreamBackend backend = backend_of(z);
  OneHead<T> head(backend.limits(), rows, weight.size(0), false);
  Tensor space = workspace_of(z, head.bytes());
  Tensor out = torch::stable::new_empty(weight, std::vector<int64_t>{rows.n, weight.size(0)});
  head.predict(backend, static_cast<unsigned char*>(space.mutable_data_ptr()), static_cast<const T*>(weight.const_data_ptr()), b,
               static_cast<T*>(out.mutable_data_ptr()));
  return out;
}

bool is_double(const Tensor& weight) {
  const ScalarType t = weight.scalar_type();
  STD_TORCH_CHECK(t == ScalarType::Float || t == ScalarType::Double, "weight must have dtype float32 or float64");
  return t == ScalarType::Double;
}

std::tuple<Tensor, Tensor, Tensor> softmax_head_loss(
    Tensor z, Tensor y, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> class_weight,
    std::optional<Tensor> sample_weight, double smoothing, int64_t ignore_index, int64_t reduction, bool need_grad) {
  return (is_double(weight) ? loss_of<double> : loss_of<float>)(
      z, y, weight, bias, class_weight, sample_weight, smoothing, ignore_index, reduction, need_grad);
}

Tensor softmax_head_predict(Tensor z, Tensor weight, std::optional<Tensor> bias) {
  return (is_double(weight) ? predict_of<double> : predict_of<float>)(z, weight, bias);
}

}  // namespace
}  // namespace gpu
}  // namespace tlplat

STABLE_TORCH_LIBRARY_IMPL(tlplat, CUDA, m) {
  m.impl("softmax_head_loss", TORCH_BOX(&tlplat::gpu::softmax_head_loss));
  m.impl("softmax_head_predict", TORCH_BOX(&tlplat::gpu::softmax_head_predict));
}
