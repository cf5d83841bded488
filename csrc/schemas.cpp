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
  // A post-norm transformer layer over the tokens (rows, hidden) of texts one after another, whose numbers of tokens are
  // `lengths`: h = norm1(x + mix(attention(qkv(x)))), then norm2(h + down(activation(up(h)))). No gradient.
  m.def(
      "frozen_encoder_layer(Tensor x, Tensor lengths, int heads, Tensor qkv_weight, Tensor? qkv_bias, Tensor mix_weight, "
      "Tensor? mix_bias, Tensor norm1_weight, Tensor norm1_bias, Tensor up_weight, Tensor? up_bias, Tensor down_weight, "
      "Tensor? down_bias, Tensor norm2_weight, Tensor norm2_bias, float norm1_eps, float norm2_eps, int activation, "
      "int precision) -> Tensor");
}
