// Every op's schema, in one place. Kernels register themselves beside their code (csrc/heads/ops.cpp); fake tensors and
// autograd are registered in tlplat/ops/native_heads.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(tlplat, m) {
  // Frozen features: z gets no gradient. reduction: 0 none, 1 mean, 2 sum. The gradients are those of the reduced loss
  // (for none, of its sum) and are empty unless need_grad.
  m.def(
      "softmax_head_loss(Tensor z, Tensor y, Tensor weight, Tensor? bias, Tensor? class_weight, Tensor? sample_weight, "
      "float label_smoothing, int ignore_index, int reduction, bool need_grad) "
      "-> (Tensor loss, Tensor grad_weight, Tensor grad_bias)");
  m.def("softmax_head_predict(Tensor z, Tensor weight, Tensor? bias) -> Tensor");
}
