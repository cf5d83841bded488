// What every solver offers to the interface in api.cpp: run for a while, then hand over the result.
#pragma once
#include <chrono>
#include <memory>
#include <numeric>
#include <vector>

#include "pass.h"
#include "team.h"

namespace tlplat {

class Fit {
 public:
  virtual ~Fit() = default;
  // Goes on for about `seconds`, or `rounds` (epochs, or evaluations of L-BFGS), whatever comes first; true when finished.
  virtual bool run(double seconds, int64_t rounds) = 0;
  // Writes weights, biases, losses and counts into the problem's output arrays.
  virtual void result() = 0;
};

class Clock {
 public:
  explicit Clock(double seconds) : start_(std::chrono::steady_clock::now()), seconds_(seconds) {}
  double spent() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  bool over() const { return spent() > seconds_; }

 private:
  std::chrono::steady_clock::time_point start_;
  double seconds_;
};

// Threads that a piece of work of so many floating-point operations between two barriers is worth.
inline int useful_threads(const TlplatHeadProblem& p, double flops) {
  return flops < 2e6 ? 1 : int(std::clamp<double>(flops / 1e6, 1, std::max(p.threads, 1)));
}

// Makes the BLAS of this thread serial while it lives: the team is the parallelism.
class SerialBlas {
 public:
  SerialBlas() : before_(MKL_Set_Num_Threads_Local ? MKL_Set_Num_Threads_Local(1) : 0) {}
  ~SerialBlas() {
    if (MKL_Set_Num_Threads_Local) MKL_Set_Num_Threads_Local(before_);
  }

 private:
  int before_;
};

// The rows that count for some head, in order; where all do, none are listed.
template <class T>
class ActiveRows {
 public:
  ActiveRows(const TlplatHeadProblem& p, const RowWeights<T>& rows) : count_(p.n) {
    const int64_t tables = !rows.weight ? 0 : rows.stride ? p.heads : 1;
    const auto counts = [&](int64_t i) {
      bool any = tables == 0;
      for (int64_t k = 0; k < tables && !any; ++k) any = rows.weight[k * rows.stride + i] != 0;
      return any && p.label[i] >= 0;
    };
    int64_t first = 0;
    while (first < p.n && counts(first)) ++first;
    if (first == p.n) return;
    row_ = Buffer<int32_t>(p.n);
    std::iota(row_.get(), row_.get() + first, 0);
    count_ = first;
    for (int64_t i = first; i < p.n; ++i)
      if (counts(i)) row_[count_++] = int32_t(i);
  }
  const int32_t* order() const { return row_.get(); }  // null where all rows count
  int64_t count() const { return count_; }

 private:
  Buffer<int32_t> row_;
  int64_t count_;
};

// Of L-BFGS: where heads over similar rows ended, those that these heads may follow; null, or not yet known.
struct Lead {
  const void *weight = nullptr, *bias = nullptr;  // (heads, classes, d) and (heads, classes) T
};

template <class T>
std::unique_ptr<Fit> make_lbfgs(const TlplatHeadProblem& p, const Lead& lead);
template <class T>
std::unique_ptr<Fit> make_minibatch(const TlplatHeadProblem& p);

// Of L-BFGS: a number for each head's path, heads of one path in the order that they are fitted in, and the features' centre and
// mean square about it (d,).
std::vector<int32_t> number_paths(const TlplatHeadProblem& p);
std::vector<std::vector<int32_t>> paths_of(const TlplatHeadProblem& p);
template <class T>
void column_moments(const TlplatHeadProblem& p, double* centre, double* square);

// Many heads as small fits side by side, a thread each; null where all heads had better share the rows. See apart.cpp.
std::unique_ptr<Fit> make_apart(const TlplatHeadProblem& p);
std::unique_ptr<Fit> make_together(const TlplatHeadProblem& p, const Lead& lead = {});

// The head's weights and biases as the solvers keep them (classes rows of ldw, then biases), and back.
template <class T>
void pack(const TlplatHeadProblem& p, int64_t head, int64_t ldw, T* w, T* bias) {
  for (int64_t c = 0; c < p.classes; ++c) {
    const int64_t row = head * p.classes + c;
    std::copy_n(static_cast<const T*>(p.weight) + row * p.d, p.d, w + c * ldw);
    bias[c] = static_cast<const T*>(p.bias)[row];
  }
}

template <class T>
void unpack(const TlplatHeadProblem& p, int64_t head, int64_t ldw, const T* w, const T* bias) {
  for (int64_t c = 0; c < p.classes; ++c) {
    const int64_t row = head * p.classes + c;
    std::copy_n(w + c * ldw, p.d, static_cast<T*>(p.weight) + row * p.d);
    static_cast<T*>(p.bias)[row] = bias[c];
  }
}

template <class T>
RowWeights<T> training_rows(const TlplatHeadProblem& p) {
  return {static_cast<const T*>(p.row_weight), p.row_weight_stride, false};
}

template <class T>
RowWeights<T> held_rows(const TlplatHeadProblem& p) {
  return {static_cast<const T*>(p.held_weight), p.held_weight_stride, true};
}

}  // namespace tlplat
