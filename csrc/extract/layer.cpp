// The torch face of frozen_encoder_layer; the work is in cpu/layer.h.
#include <atomic>

#include "cpu/layer.h"
#include "heads/face.h"

namespace tlplat::extract {
namespace {

TlplatBlock dense(
    const Tensor& weight, const std::optional<Tensor>& bias, int64_t k, int64_t d, int64_t activation, int64_t precision,
    const char* name) {
  STD_TORCH_CHECK(weight.dim() == 2 && weight.size(0) == d && weight.size(1) == k && weight.is_contiguous() &&
                      weight.scalar_type() == ScalarType::Float,
                  name, " must be (", d, ", ", k, ") float32, contiguous");
  TlplatBlock p{};
  p.weight = weight.const_data_ptr(), p.bias = vector_of<float>(bias, d, name);
  p.k = k, p.d = d, p.stride = 1, p.x_dtype = TLPLAT_F32, p.isa = best_isa();
  p.activation = int32_t(activation), p.precision = int32_t(precision);
  return p;
}

Tensor frozen_encoder_layer(
    Tensor x, Tensor lengths, int64_t heads, Tensor qkv_weight, std::optional<Tensor> qkv_bias, Tensor mix_weight,
    std::optional<Tensor> mix_bias, Tensor norm1_weight, Tensor norm1_bias, Tensor up_weight, std::optional<Tensor> up_bias,
    Tensor down_weight, std::optional<Tensor> down_bias, Tensor norm2_weight, Tensor norm2_bias, double eps1, double eps2,
    int64_t activation, int64_t precision) {
  STD_TORCH_CHECK(x.dim() == 2 && x.is_contiguous() && x.scalar_type() == ScalarType::Float,
                  "x must be (tokens, hidden) float32, contiguous");
  STD_TORCH_CHECK(lengths.dim() == 1 && lengths.is_contiguous() && lengths.scalar_type() == ScalarType::Long,
                  "lengths must be (texts,) int64, contiguous");
  STD_TORCH_CHECK(up_weight.dim() == 2, "up_weight must be (inner, hidden)");
  TlplatLayer p{};
  p.rows = x.size(0), p.hidden = x.size(1), p.heads = heads, p.texts = lengths.size(0);
  STD_TORCH_CHECK(heads >= 1 && p.hidden >= 1 && p.hidden % heads == 0, heads, " heads do not divide ", p.hidden, " channels");
  p.lengths = static_cast<const int64_t*>(lengths.const_data_ptr());
  int64_t tokens = 0;
  for (int64_t i = 0; i < p.texts; ++i) {
    STD_TORCH_CHECK(p.lengths[i] >= 0 && p.lengths[i] <= p.rows, "text ", i, " has ", p.lengths[i], " tokens");
    tokens += p.lengths[i];
  }
  STD_TORCH_CHECK(tokens == p.rows, "lengths add up to ", tokens, " tokens, x has ", p.rows);
  const int64_t inner = up_weight.size(0);
  p.qkv = dense(qkv_weight, qkv_bias, p.hidden, 3 * p.hidden, TLPLAT_IDENTITY, precision, "qkv");
  p.mix = dense(mix_weight, mix_bias, p.hidden, p.hidden, TLPLAT_IDENTITY, precision, "mix");
  p.up = dense(up_weight, up_bias, p.hidden, inner, activation, precision, "up");
  p.down = dense(down_weight, down_bias, inner, p.hidden, TLPLAT_IDENTITY, precision, "down");
  p.norm1_weight = vector_of<float>(norm1_weight, p.hidden, "norm1_weight");
  p.norm1_bias = vector_of<float>(norm1_bias, p.hidden, "norm1_bias");
  p.norm2_weight = vector_of<float>(norm2_weight, p.hidden, "norm2_weight");
  p.norm2_bias = vector_of<float>(norm2_bias, p.hidden, "norm2_bias");
  p.eps1 = eps1, p.eps2 = eps2;
  Tensor out = torch::stable::new_empty(x, {p.rows, p.hidden});
  p.x = x.const_data_ptr(), p.out = out.mutable_data_ptr();
  TlplatHeadProblem threads{};
  threads.threads = int32_t(torch::stable::get_num_threads());
  Team team(useful_threads(threads, 4.0 * double(p.rows) * double(p.hidden) * double(2 * p.hidden + inner)));
  const PackedLayer layer(p, team);
  std::vector<LayerWalk> walks;
  for (int i = 0; i < team.size(); ++i) walks.emplace_back(layer);
  std::atomic<size_t> next{0};
  team.run([&](int me) {
    const SerialBlas serial;
    for (size_t i; (i = next.fetch_add(1)) < layer.chunks().size();) walks[size_t(me)].run(layer.chunks()[i]);
  });
  return out;
}

}  // namespace
}  // namespace tlplat::extract

STABLE_TORCH_LIBRARY_IMPL(tlplat, CPU, m) {
  m.impl("frozen_encoder_layer", TORCH_BOX(&tlplat::extract::frozen_encoder_layer));
}
