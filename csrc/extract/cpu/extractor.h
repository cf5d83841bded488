// One thread's walk over examples: a chunk of rows of x at a time, z of a group of examples at a time, nothing kept.
#pragma once
#include "packed.h"

namespace tlplat::extract {

template <class T>
class Extractor {
 public:
  explicit Extractor(const PackedBlock<T>& block)
      : block_(block), p_(block.problem()), rows_(chunk(block)), group_(p_.pool ? 64 : rows_) {
    x_ = Buffer<char>(rows_ * block.row_bytes()), scale_ = Buffer<float>(rows_), slot_ = Buffer<int64_t>(rows_);
    wide_ = Buffer<T>(p_.k), q_ = Buffer<int8_t>(p_.k);
    z_ = Buffer<T>((group_ + kLanes) * block.ld());
    if (p_.pool) h_ = Buffer<T>(rows_ * block.ld()), count_ = Buffer<int64_t>(group_);
  }

  int64_t group() const { return group_; }  // examples of one run, at most

  // z of the examples [begin, end): rows block.ld() apart, valid until the next run.
  const T* run(int64_t begin, int64_t end) {
    if (!p_.pool) {
      for (int64_t i = begin; i < end; ++i) take(i, 0, i - begin, i - begin);
      block_.run(x_.get(), round_up(end - begin, kTileRows), scale_.get(), z_.get());
      return z_.get();
    }
    const int64_t ld = block_.ld();
    std::fill_n(z_.get(), (end - begin) * ld, T(0)), std::fill_n(count_.get(), end - begin, 0);
    int64_t filled = 0;
    for (int64_t i = begin; i < end; ++i)
      for (int64_t t = 0; t < p_.tokens; ++t) {
        if (p_.mask && !p_.mask[i * p_.tokens + t]) continue;
        take(i, t, i - begin, filled++);
        if (filled == rows_) add(&filled);
      }
    add(&filled);
    for (int64_t i = 0; i < end - begin; ++i)
      for (int64_t j = 0; count_[i] && j < p_.d; ++j) z_[i * ld + j] /= T(count_[i]);
    return z_.get();
  }

 private:
  // Rows of x and of h that stay in half a megabyte together.
  static int64_t chunk(const PackedBlock<T>& block) {
    const int64_t row = block.row_bytes() + block.ld() * int64_t(sizeof(T));
    return std::clamp<int64_t>((640 << 10) / std::max<int64_t>(row, 1) / 48 * 48, 48, 192);
  }

  void take(int64_t example, int64_t token, int64_t slot, int64_t r) {
    const int64_t bytes = p_.x_dtype == TLPLAT_F64 ? 8 : p_.x_dtype == TLPLAT_F32 ? 4 : 2;
    const char* from = static_cast<const char*>(p_.x) + (example * p_.row_stride + token * p_.token_stride) * bytes;
    slot_[r] = slot, scale_[r] = block_.encode(from, wide_.get(), q_.get(), x_.get() + r * block_.row_bytes());
  }

  void add(int64_t* filled) {
    const int64_t ld = block_.ld();
    block_.run(x_.get(), round_up(*filled, kTileRows), scale_.get(), h_.get());
    for (int64_t r = 0; r < *filled; ++r) {
      ++count_[slot_[r]];
      tlplat::kernels<T>(p_.isa).axpy(T(1), h_.get() + r * ld, z_.get() + slot_[r] * ld, p_.d);
    }
    *filled = 0;
  }

  const PackedBlock<T>& block_;
  const TlplatBlock& p_;
  const int64_t rows_, group_;
  Buffer<char> x_;
  Buffer<float> scale_;
  Buffer<int64_t> slot_, count_;
  Buffer<int8_t> q_;
  Buffer<T> wide_, z_, h_;
};

}  // namespace tlplat::extract
