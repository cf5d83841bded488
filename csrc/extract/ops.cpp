// The torch face of frozen_softmax_head_loss and extract_features; the work is in cpu/extractor.h and heads/cpu/pass.h.
#include "cpu/extractor.h"
#include "heads/face.h"

namespace tlplat::extract {
namespace {

const int32_t kOneHead = 0;
// Groups of examples whose gradients are summed apart, so that float's rounding does not grow with n.
constexpr int kGroupsApart = 16;

template <class T>
TlplatBlock block_of(
    const Tensor& x, const std::optional<Tensor>& mask, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& norm_weight, const std::optional<Tensor>& norm_bias, double eps, int64_t activation,
    int64_t precision) {
  TlplatBlock p{};
  STD_TORCH_CHECK(x.dim() == 2 || x.dim() == 3, "x must be (n, k), or (n, tokens, k) for a mean over tokens");
  STD_TORCH_CHECK(weight.dim() == 2 && weight.is_contiguous(), "the block's weight must be (d, k), contiguous");
  p.pool = x.dim() == 3;
  p.n = x.size(0), p.tokens = p.pool ? x.size(1) : 1, p.k = weight.size(1), p.d = weight.size(0);
  STD_TORCH_CHECK(x.size(x.dim() - 1) == p.k, "x has ", x.size(x.dim() - 1), " channels, the block's weight ", p.k);
  STD_TORCH_CHECK(sizeof(T) == 4 || precision == TLPLAT_FULL, "bf16 and int8 extraction compute in float32");
  p.row_stride = x.stride(0), p.token_stride = p.pool ? x.stride(1) : 0, p.stride = x.stride(x.dim() - 1);
  p.x = x.const_data_ptr(), p.x_dtype = dtype_of(x, "x"), p.weight = weight.const_data_ptr();
  p.bias = vector_of<T>(bias, p.d, "the block's bias");
  p.norm_weight = vector_of<T>(norm_weight, p.d, "norm_weight"), p.norm_bias = vector_of<T>(norm_bias, p.d, "norm_bias");
  p.eps = eps, p.activation = int32_t(activation), p.precision = int32_t(precision), p.isa = best_isa();
  if (mask) {
    STD_TORCH_CHECK(p.pool && mask->dim() == 2 && mask->size(0) == p.n && mask->size(1) == p.tokens && mask->is_contiguous() &&
                        mask->scalar_type() == ScalarType::Bool,
                    "mask must be (n, tokens) bool, contiguous");
    p.mask = static_cast<const uint8_t*>(mask->const_data_ptr());
  }
  return p;
}

int threads_for(const TlplatBlock& p, double more) {
  TlplatHeadProblem threads{};
  threads.threads = int32_t(torch::stable::get_num_threads());
  return useful_threads(threads, double(p.n) * (2.0 * double(p.tokens) * double(p.k) * double(p.d) + more));
}

template <class T>
std::tuple<Tensor, Tensor, Tensor> loss_of(
    const TlplatBlock& block, const Tensor& y, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& class_weight, const std::optional<Tensor>& sample_weight, double smoothing,
    int64_t ignore_index, int64_t reduction, bool need_grad) {
  HeadInput<T> in(block.n, weight, bias);
  const TlplatHeadProblem& p = in.p;
  STD_TORCH_CHECK(p.d == block.d, "the block gives ", block.d, " features, weight takes ", p.d);
  RowLosses<T> losses(in.p, y, class_weight, sample_weight, smoothing, ignore_index);
  Team team(threads_for(block, 4.0 * double(p.d) * double(p.classes)));
  const PackedBlock<T> packed(block, team);
  std::vector<Extractor<T>> extractor;
  std::vector<TlplatHeadProblem> chunk(size_t(team.size()), p);
  std::vector<Pass<T>> pass;
  std::vector<Buffer<T>> apart;
  const int64_t weights_of_g = p.classes * round_up(p.d, kLanes);
  for (auto& c : chunk) {
    c.z_stride = packed.ld();
    apart.emplace_back(need_grad ? weights_of_g + p.classes : 0);
    extractor.emplace_back(packed), pass.emplace_back(c, kernels<T>(p.isa), p.classes);
  }
  return losses.reduce(
      weight, reduction, need_grad, team,
      [&](int me, int64_t begin, int64_t end, T* g, T* gb, double* loss, double* mass, T* rows) {
        TlplatHeadProblem& c = chunk[size_t(me)];
        Extractor<T>& extract = extractor[size_t(me)];
        T* sums = need_grad ? apart[size_t(me)].get() : nullptr;
        T* sums_b = need_grad ? sums + weights_of_g : nullptr;
        int groups = 0;
        for (int64_t at = begin; at < end; at += extract.group()) {
          c.n = std::min(extract.group(), end - at), c.z = extract.run(at, at + c.n);
          c.label = p.label + at;
          RowWeights<T> weights = training_rows<T>(p);
          if (weights.weight) weights.weight += at;
          pass[size_t(me)].run(
              nullptr, 0, c.n, weights, &kOneHead, 1, in.w.get(), in.b.get(), sums, sums_b, loss, mass,
              rows ? rows + at : nullptr);
          if (!need_grad || (++groups % kGroupsApart && at + extract.group() < end)) continue;
          kernels<T>(p.isa).axpy(T(1), sums, g, weights_of_g), kernels<T>(p.isa).axpy(T(1), sums_b, gb, p.classes);
          std::fill_n(sums, weights_of_g + p.classes, T(0));
        }
      });
}

template <class T>
Tensor features_of(const TlplatBlock& p, const Tensor& x, int64_t dtype) {
  const ScalarType types[] = {ScalarType::Float, ScalarType::Double, ScalarType::BFloat16, ScalarType::Half};
  STD_TORCH_CHECK(dtype >= 0 && dtype < 4, "no such dtype");
  Tensor out = torch::stable::new_empty(x, {p.n, p.d}, types[dtype]);
  char* to = static_cast<char*>(out.mutable_data_ptr());
  const int64_t bytes = p.d * (dtype == TLPLAT_F64 ? 8 : dtype == TLPLAT_F32 ? 4 : 2);
  Team team(threads_for(p, 0));
  const PackedBlock<T> packed(p, team);
  std::vector<Extractor<T>> extractor;
  for (int i = 0; i < team.size(); ++i) extractor.emplace_back(packed);
  team.run([&](int me) {
    const SerialBlas serial;
    Extractor<T>& extract = extractor[size_t(me)];
    int64_t begin, end;
    team.share(me, p.n, kLanes, &begin, &end);
    for (int64_t at = begin; at < end; at += extract.group()) {
      const int64_t count = std::min(extract.group(), end - at);
      const T* z = extract.run(at, at + count);
      for (int64_t i = 0; i < count; ++i)
        packed.kernels().narrow(z + i * packed.ld(), p.d, int32_t(dtype), to + (at + i) * bytes);
    }
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> frozen_softmax_head_loss(
    Tensor x, std::optional<Tensor> mask, Tensor block_weight, std::optional<Tensor> block_bias,
    std::optional<Tensor> norm_weight, std::optional<Tensor> norm_bias, double norm_eps, int64_t activation,
    int64_t precision, Tensor y, Tensor weight, std::optional<Tensor> bias, std::optional<Tensor> class_weight,
    std::optional<Tensor> sample_weight, double smoothing, int64_t ignore_index, int64_t reduction, bool need_grad) {
  const bool wide = is_double(weight);
  STD_TORCH_CHECK(is_double(block_weight) == wide, "the block's weight must have weight's dtype");
  const TlplatBlock block = (wide ? block_of<double> : block_of<float>)(
      x, mask, block_weight, block_bias, norm_weight, norm_bias, norm_eps, activation, precision);
  return (wide ? loss_of<double> : loss_of<float>)(
      block, y, weight, bias, class_weight, sample_weight, smoothing, ignore_index, reduction, need_grad);
}

Tensor extract_features(
    Tensor x, std::optional<Tensor> mask, Tensor block_weight, std::optional<Tensor> block_bias,
    std::optional<Tensor> norm_weight, std::optional<Tensor> norm_bias, double norm_eps, int64_t activation,
    int64_t precision, int64_t dtype) {
  const bool wide = is_double(block_weight);
  const TlplatBlock block = (wide ? block_of<double> : block_of<float>)(
      x, mask, block_weight, block_bias, norm_weight, norm_bias, norm_eps, activation, precision);
  return (wide ? features_of<double> : features_of<float>)(block, x, dtype);
}

}  // namespace
}  // namespace tlplat::extract

STABLE_TORCH_LIBRARY_IMPL(tlplat, CPU, m) {
  m.impl("frozen_softmax_head_loss", TORCH_BOX(&tlplat::extract::frozen_softmax_head_loss));
  m.impl("extract_features", TORCH_BOX(&tlplat::extract::extract_features));
}
