// Every op's schema, in one place. Kernels register themselves beside their code (heads/ops.cpp, extract/ops.cpp); fake
// tensors and autograd are registered in tlplat/ops/native_heads.py and native_extract.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(tlplat, m) {
  // Frozen features: z gets no gradient. reduction: 0 none, 1 mean, 2 sum. The gradients are those of the reduced loss
  // (for none, of its sum) and are empty unless need_grad.
  m.def(
      "softmax_head_loss(Tensor z, Tensor y, Tensor weight, Tensor? bias, Tensor? class_weight, Tensor? sample_weight, "
      "float label_smoothing, int ignore_index, int reduction, bool need_grad) "
      "-> (Tensor loss, Tensor grad_weight, Tensor grad_bias)");
  m.def("softmax_head_predict(Tensor z, Tensor weight, Tensor? bias) -> Tensor");
  // The same behind a frozen block z = pool(norm(activation(x block_weight^T + block_bias))): no gradient for x nor for
  // anything of the block. activation, precision: extract/problem.h. No norm where norm_weight is none. x is (n, k), or
  // (n, tokens, k) for a mean over the tokens that the mask keeps.
  m.def(
      "frozen_softmax_head_loss(Tensor x, Tensor? mask, Tensor block_weight, Tensor? block_bias, Tensor? norm_weight, "
      "Tensor? norm_bias, float norm_eps, int activation, int precision, Tensor y, Tensor weight, Tensor? bias, "
      "Tensor? class_weight, Tensor? sample_weight, float label_smoothing, int ignore_index, int reduction, bool need_grad) "
      "-> (Tensor loss, Tensor grad_weight, Tensor grad_bias)");
  // z itself; dtype: TlplatDtype of heads/problem.h.
  m.def(
      "extract_features(Tensor x, Tensor? mask, Tensor block_weight, Tensor? block_bias, Tensor? norm_weight, "
      "Tensor? norm_bias, float norm_eps, int activation, int precision, int dtype) -> Tensor");
}
