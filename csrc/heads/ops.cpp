// The torch face of softmax_head_loss and softmax_head_predict: checks, buffers, threads; the work is in cpu/pass.h.
#include "face.h"

namespace tlplat {
namespace {

template <class T>
HeadInput<T> head_on(const Tensor& z, const Tensor& weight, const std::optional<Tensor>& bias) {
  STD_TORCH_CHECK(z.dim() == 2 && weight.dim() == 2, "z must be (n, d) and weight (C, d)");
  STD_TORCH_CHECK(z.size(1) == weight.size(1), "z has ", z.size(1), " features, weight ", weight.size(1));
  STD_TORCH_CHECK(z.size(1) < 2 || z.stride(1) == 1, "z must have unit stride along d");
  HeadInput<T> in(z.size(0), weight, bias);
  in.p.z = z.const_data_ptr(), in.p.z_dtype = dtype_of(z, "z"), in.p.z_stride = z.stride(0);
  return in;
}

template <class T>
std::tuple<Tensor, Tensor, Tensor> loss_of(
    const Tensor& z, const Tensor& y, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& class_weight, const std::optional<Tensor>& sample_weight, double smoothing,
    int64_t ignore_index, int64_t reduction, bool need_grad) {
  HeadInput<T> in = head_on<T>(z, weight, bias);
  TlplatHeadProblem& p = in.p;
  RowLosses<T> losses(p, y, class_weight, sample_weight, smoothing, ignore_index);
  Team team(useful_threads(p, (need_grad ? 4.0 : 2.0) * double(p.n) * double(p.d) * double(p.classes)));
  std::vector<Pass<T>> pass;
  for (int i = 0; i < team.size(); ++i) pass.emplace_back(p, kernels<T>(p.isa), p.classes);
  return losses.reduce(
      weight, reduction, need_grad, team,
      [&](int me, int64_t begin, int64_t end, T* g, T* gb, double* loss, double* mass, T* rows) {
        const int32_t head = 0;
        pass[size_t(me)].run(nullptr, begin, end, training_rows<T>(p), &head, 1, in.w.get(), in.b.get(), g, gb, loss, mass, rows);
      });
}

template <class T>
Tensor predict_of(const Tensor& z, const Tensor& weight, const std::optional<Tensor>& bias) {
  HeadInput<T> in = head_on<T>(z, weight, bias);
  const TlplatHeadProblem& p = in.p;
  Tensor out = torch::stable::new_empty(weight, {p.n, p.classes});
  T* to = static_cast<T*>(out.mutable_data_ptr());
  Team team(useful_threads(p, 2.0 * double(p.n) * double(p.d) * double(p.classes)));
  std::vector<Pass<T>> pass;
  for (int i = 0; i < team.size(); ++i) pass.emplace_back(p, kernels<T>(p.isa), p.classes);
  team.run([&](int me) {
    const SerialBlas serial;
    int64_t begin, end;
    team.share(me, p.n, kLanes, &begin, &end);
    pass[size_t(me)].predict(begin, end, in.w.get(), in.b.get(), to + begin * p.classes);
  });
  return out;
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
}  // namespace tlplat

STABLE_TORCH_LIBRARY_IMPL(tlplat, CPU, m) {
  m.impl("softmax_head_loss", TORCH_BOX(&tlplat::softmax_head_loss));
  m.impl("softmax_head_predict", TORCH_BOX(&tlplat::softmax_head_predict));
}
