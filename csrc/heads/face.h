// What the torch faces of losses share: checks of tensors, the head and the labels as plain arrays, and the sum over threads.
#pragma once
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>
#include <vector>

#include "heads/cpu/fit.h"

namespace tlplat {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline int32_t dtype_of(const Tensor& t, const char* name) {
  switch (t.scalar_type()) {
    case ScalarType::Float: return TLPLAT_F32;
    case ScalarType::Double: return TLPLAT_F64;
    case ScalarType::BFloat16: return TLPLAT_BF16;
    case ScalarType::Half: return TLPLAT_F16;
    default: STD_TORCH_CHECK(false, name, " has a dtype that is none of float32, float64, bfloat16, float16");
  }
}

inline bool is_double(const Tensor& weight) {
  const ScalarType t = weight.scalar_type();
  STD_TORCH_CHECK(t == ScalarType::Float || t == ScalarType::Double, "weight must have dtype float32 or float64");
  return t == ScalarType::Double;
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

// One head in the solvers' layout, and a problem of n rows without z.
template <class T>
struct HeadInput {
  TlplatHeadProblem p{};
  Buffer<T> w, b;

  HeadInput(int64_t n, const Tensor& weight, const std::optional<Tensor>& bias) {
    STD_TORCH_CHECK(weight.dim() == 2 && weight.is_contiguous() && weight.size(0) >= 1,
                    "weight must be (C, d), contiguous, with C >= 1");
    STD_TORCH_CHECK(n < (int64_t(1) << 31), "there must be less than 2**31 rows");
    p.compute = p.z_dtype = sizeof(T) == 4 ? TLPLAT_F32 : TLPLAT_F64;
    p.n = n, p.d = weight.size(1), p.classes = weight.size(0), p.heads = 1;
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

// The labels' arrays of a problem, and how a loss over rows is reduced.
template <class T>
class RowLosses {
 public:
  RowLosses(TlplatHeadProblem& p, const Tensor& y, const std::optional<Tensor>& class_weight,
            const std::optional<Tensor>& sample_weight, double smoothing, int64_t ignore_index)
      : p_(p), label_(p.n), own_(p.classes), mass_(p.classes), smooth_(p.classes) {
    STD_TORCH_CHECK(y.dim() == 1 && y.size(0) == p.n && y.is_contiguous() && y.scalar_type() == ScalarType::Long,
                    "y must be (n,) int64, contiguous");
    const int64_t* labels = static_cast<const int64_t*>(y.const_data_ptr());
    const T* class_of = vector_of<T>(class_weight, p.classes, "class_weight");
    p.row_weight = vector_of<T>(sample_weight, p.n, "sample_weight");
    for (int64_t i = 0; i < p.n; ++i) {
      const bool kept = labels[i] != ignore_index;
      STD_TORCH_CHECK(!kept || (labels[i] >= 0 && labels[i] < p.classes), "label ", labels[i], " at position ", i,
                      " is out of range [0, ", p.classes, ")");
      label_[i] = kept ? int32_t(labels[i]) : -1;
    }
    for (int64_t c = 0; c < p.classes; ++c) {
      mass_[c] = class_of ? class_of[c] : T(1);
      own_[c] = T(1 - smoothing) * mass_[c], smooth_[c] = T(smoothing / double(p.classes)) * mass_[c];
    }
    p.label = label_.get();
    p.own = class_of || smoothing > 0 ? own_.get() : nullptr, p.mass = class_of ? mass_.get() : nullptr;
    p.smooth = smoothing > 0 ? smooth_.get() : nullptr;
  }

  // `part(thread, begin, end, g, gb, &loss, &mass, row_loss)` adds up its rows as Pass::run does.
  // reduction: 0 none, 1 mean, 2 sum.
  template <class Part>
  std::tuple<Tensor, Tensor, Tensor> reduce(const Tensor& weight, int64_t reduction, bool need_grad, Team& team, Part part) {
    Tensor loss = torch::stable::new_empty(weight, reduction == 0 ? std::vector<int64_t>{p_.n} : std::vector<int64_t>{});
    Tensor grad_w = torch::stable::new_empty(weight, {need_grad ? p_.classes : 0, p_.d});
    Tensor grad_b = torch::stable::new_empty(weight, {need_grad ? p_.classes : 0});
    T* rows = reduction == 0 ? static_cast<T*>(loss.mutable_data_ptr()) : nullptr;
    const int64_t ldw = round_up(p_.d, kLanes);
    std::vector<Buffer<T>> g, gb;
    std::vector<double> sums(size_t(team.size()), 0.0), masses(size_t(team.size()), 0.0);
    for (int i = 0; i < team.size(); ++i)
      g.emplace_back(need_grad ? p_.classes * ldw : 0), gb.emplace_back(need_grad ? p_.classes : 0);
    team.run([&](int me) {
      const SerialBlas serial;
      int64_t begin, end;
      team.share(me, p_.n, kLanes, &begin, &end);
      const size_t i = size_t(me);
      part(me, begin, end, need_grad ? g[i].get() : nullptr, need_grad ? gb[i].get() : nullptr, &sums[i], &masses[i], rows);
    });
    double sum = 0, total = 0;
    for (size_t i = 0; i < sums.size(); ++i) sum += sums[i], total += masses[i];
    STD_TORCH_CHECK(reduction != 1 || total != 0, "a mean over no rows: z is empty or every label is the ignore_index");
    if (reduction != 0) *static_cast<T*>(loss.mutable_data_ptr()) = T(reduction == 1 ? sum / total : sum);
    if (need_grad) {
      const Kernels<T>& k = kernels<T>(p_.isa);
      const T scale = T(reduction == 1 ? 1 / total : 1);
      for (size_t i = 1; i < g.size(); ++i) {
        k.axpy(T(1), g[i].get(), g[0].get(), g[0].size());
        k.axpy(T(1), gb[i].get(), gb[0].get(), p_.classes);
      }
      k.blend(scale, g[0].get(), T(0), g[0].get(), g[0].get(), g[0].size());
      k.blend(scale, gb[0].get(), T(0), gb[0].get(), gb[0].get(), p_.classes);
      p_.weight = grad_w.mutable_data_ptr(), p_.bias = grad_b.mutable_data_ptr();
      unpack(p_, 0, ldw, g[0].get(), gb[0].get());
    }
    return {loss, grad_w, grad_b};
  }

 private:
  TlplatHeadProblem& p_;
  Buffer<int32_t> label_;
  Buffer<T> own_, mass_, smooth_;
};

}  // namespace tlplat
