// The torch face of softmax_head_loss and softmax_head_predict: checks, buffers, threads; the work is in cpu/pass.h.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>
#include <vector>

#include "cpu/fit.h"

namespace tlplat {
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

// (length,) of T, contiguous.
template <class T>
const T* vector_of(const std::optional<Tensor>& t, int64_t length, const char* name) {
  if (!t) return nullptr;
  STD_TORCH_CHECK(t->dim() == 1 && t->size(0) == length, name, " must have shape (", length, ",)");
  STD_TORCH_CHECK(t->is_contiguous(), name, " must be contiguous");
  STD_TORCH_CHECK(dtype_of(*t, name) == (sizeof(T) == 4 ? TLPLAT_F32 : TLPLAT_F64), name, " must have weight's dtype");
  return static_cast<const T*>(t->const_data_ptr());
}

// z, and the head in the solvers' layout.
template <class T>
struct HeadInput {
  TlplatHeadProblem p{};
  Buffer<T> w, b;

  HeadInput(const Tensor& z, const Tensor& weight, const std::optional<Tensor>& bias) {
    STD_TORCH_CHECK(z.dim() == 2 && weight.dim() == 2, "z must be (n, d) and weight (C, d)");
    STD_TORCH_CHECK(z.size(1) == weight.size(1), "z has ", z.size(1), " features, weight ", weight.size(1));
    STD_TORCH_CHECK(z.size(1) < 2 || z.stride(1) == 1, "z must have unit stride along d");
    STD_TORCH_CHECK(weight.is_contiguous() && weight.size(0) >= 1, "weight must be contiguous, with C >= 1");
    STD_TORCH_CHECK(z.size(0) < (int64_t(1) << 31), "z must have less than 2**31 rows");
    p.z = z.const_data_ptr(), p.z_dtype = dtype_of(z, "z"), p.compute = sizeof(T) == 4 ? TLPLAT_F32 : TLPLAT_F64;
    p.n = z.size(0), p.d = z.size(1), p.z_stride = z.stride(0), p.classes = weight.size(0), p.heads = 1;
    p.weight = const_cast<void*>(weight.const_data_ptr());
    Buffer<T> none;
    if (!bias) none = Buffer<T>(p.classes);
    p.bias = bias ? const_cast<T*>(vector_of<T>(bias, p.classes, "bias")) : none.get();
    p.threads = int32_t(torch::stable::get_num_threads()), p.isa = best_isa();
    const int64_t ldw = round_up(p.d, kLanes);
    w = Buffer<T>(p.classes * ldw), b = Buffer<T>(p.classes);
    pack(p, 0, ldw, w.get(), b.get());
  }
};

template <class T>
std::tuple<Tensor, Tensor, Tensor> loss_of(
    const Tensor& z, const Tensor& y, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& class_weight, const std::optional<Tensor>& sample_weight, double smoothing,
    int64_t ignore_index, int64_t reduction, bool need_grad) {
  HeadInput<T> in(z, weight, bias);
  TlplatHeadProblem& p = in.p;
  STD_TORCH_CHECK(y.dim() == 1 && y.size(0) == p.n && y.is_contiguous() && y.scalar_type() == ScalarType::Long,
                  "y must be (n,) int64, contiguous");
  const int64_t* labels = static_cast<const int64_t*>(y.const_data_ptr());
  const T* class_of = vector_of<T>(class_weight, p.classes, "class_weight");
  p.row_weight = vector_of<T>(sample_weight, p.n, "sample_weight");
  Buffer<int32_t> label(p.n);
  Buffer<T> a(p.n), mass(p.n), kept(p.n), smooth(p.classes);
  for (int64_t i = 0; i < p.n; ++i) {
    if (labels[i] == ignore_index) continue;
    STD_TORCH_CHECK(labels[i] >= 0 && labels[i] < p.classes, "label ", labels[i], " at position ", i,
                    " is out of range [0, ", p.classes, ")");
    label[i] = int32_t(labels[i]), kept[i] = 1, mass[i] = class_of ? class_of[labels[i]] : T(1);
    a[i] = T(1 - smoothing) * mass[i];
  }
  for (int64_t c = 0; c < p.classes; ++c) smooth[c] = T(smoothing / double(p.classes)) * (class_of ? class_of[c] : T(1));
  p.label = label.get(), p.a = a.get(), p.mass = mass.get(), p.kept = kept.get();
  p.smooth = smoothing > 0 ? smooth.get() : nullptr;

  Tensor loss = torch::stable::new_empty(weight, reduction == 0 ? std::vector<int64_t>{p.n} : std::vector<int64_t>{});
  Tensor grad_w = torch::stable::new_empty(weight, {need_grad ? p.classes : 0, p.d});
  Tensor grad_b = torch::stable::new_empty(weight, {need_grad ? p.classes : 0});
  T* rows = reduction == 0 ? static_cast<T*>(loss.mutable_data_ptr()) : nullptr;

  const Kernels<T>& k = kernels<T>(p.isa);
  Team team(useful_threads(p, (need_grad ? 4.0 : 2.0) * double(p.n) * double(p.d) * double(p.classes)));
  std::vector<Pass<T>> pass;
  std::vector<Buffer<T>> g, gb;
  std::vector<double> sums(size_t(team.size()), 0.0), masses(size_t(team.size()), 0.0);
  for (int i = 0; i < team.size(); ++i) {
    pass.emplace_back(p, k, p.classes);
    g.emplace_back(need_grad ? p.classes * pass[0].ldw() : 0), gb.emplace_back(need_grad ? p.classes : 0);
  }
  const int32_t head = 0;
  team.run([&](int me) {
    const SerialBlas serial;
    int64_t begin, end;
    team.share(me, p.n, kLanes, &begin, &end);
    const size_t i = size_t(me);
    pass[i].run(nullptr, begin, end, training_rows<T>(p), &head, 1, in.w.get(), in.b.get(), need_grad ? g[i].get() : nullptr,
                need_grad ? gb[i].get() : nullptr, &sums[i], &masses[i], rows);
  });
  double sum = 0, total = 0;
  for (size_t i = 0; i < sums.size(); ++i) sum += sums[i], total += masses[i];
  STD_TORCH_CHECK(reduction != 1 || total != 0, "a mean over no rows: z is empty or every label is the ignore_index");
  const T scale = T(reduction == 1 ? 1 / total : 1);
  if (!rows) *static_cast<T*>(loss.mutable_data_ptr()) = T(reduction == 1 ? sum / total : sum);
  if (need_grad) {
    for (size_t i = 1; i < g.size(); ++i) {
      k.axpy(T(1), g[i].get(), g[0].get(), g[0].size());
      k.axpy(T(1), gb[i].get(), gb[0].get(), p.classes);
    }
    k.blend(scale, g[0].get(), T(0), g[0].get(), g[0].get(), g[0].size());
    k.blend(scale, gb[0].get(), T(0), gb[0].get(), gb[0].get(), p.classes);
    p.weight = grad_w.mutable_data_ptr(), p.bias = grad_b.mutable_data_ptr();
    unpack(p, 0, pass[0].ldw(), g[0].get(), gb[0].get());
  }
  return {loss, grad_w, grad_b};
}

template <class T>
Tensor predict_of(const Tensor& z, const Tensor& weight, const std::optional<Tensor>& bias) {
  HeadInput<T> in(z, weight, bias);
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
}  // namespace tlplat

STABLE_TORCH_LIBRARY_IMPL(tlplat, CPU, m) {
  m.impl("softmax_head_loss", TORCH_BOX(&tlplat::softmax_head_loss));
  m.impl("softmax_head_predict", TORCH_BOX(&tlplat::softmax_head_predict));
}
