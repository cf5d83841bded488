// Groups of heads with the same decays over different rows, as a sweep's folds are. The first of them go alone; the others
// follow the mean of where those ended (lbfgs.cpp). Which go first depends on how many there are, not on who is ready.
#pragma once
#include <vector>

#include "fit.h"

namespace tlplat {

class Family {
 public:
  // The group's place.
  int64_t add(const std::vector<int32_t>& heads) {
    groups_.push_back(&heads);
    return int64_t(groups_.size()) - 1;
  }

  // Once all groups are known. A mean of more tells more, but then fewer are left to follow it; no thread waits.
  void close(const TlplatHeadProblem& p) {
    const int64_t all = int64_t(groups_.size()), heads = int64_t(groups_[0]->size());
    leaders_ = round_up(std::max<int64_t>(2, all / 10 * 2), std::max(p.threads, 1));
    if (leaders_ >= all || heads < 2) return void(leaders_ = all);
    const int64_t classes = heads * p.classes, element = p.compute == TLPLAT_F64 ? 8 : 4;
    weight_ = Buffer<char>(classes * p.d * element), bias_ = Buffer<char>(classes * element);
    lead_ = {weight_.get(), bias_.get()};
  }

  bool leads(int64_t place) const { return place < leaders_; }
  bool ready() const { return arrived_ >= leaders_; }
  const Lead& lead() const { return lead_; }

  // One of the leaders is done; the last takes their means from the problem's outputs.
  void arrive(const TlplatHeadProblem& p) {
    if (++arrived_ < leaders_ || !lead_.weight) return;
    p.compute == TLPLAT_F64 ? means<double>(p) : means<float>(p);
  }

 private:
  template <class T>
  void means(const TlplatHeadProblem& p) {
    const auto add = [&](const void* from, int32_t head, int64_t i, int64_t count, const Buffer<char>& to) {
      const T* own = static_cast<const T*>(from) + head * count;
      kernels<T>(p.isa).axpy(T(1) / T(leaders_), own, reinterpret_cast<T*>(to.get()) + i * count, count);
    };
    for (int64_t k = 0; k < leaders_; ++k)
      for (size_t i = 0; i < groups_[size_t(k)]->size(); ++i) {
        const int32_t head = (*groups_[size_t(k)])[i];
        add(p.weight, head, int64_t(i), p.classes * p.d, weight_), add(p.bias, head, int64_t(i), p.classes, bias_);
      }
  }

  std::vector<const std::vector<int32_t>*> groups_;
  int64_t leaders_ = 0, arrived_ = 0;
  Buffer<char> weight_, bias_;
  Lead lead_;
};

}  // namespace tlplat
