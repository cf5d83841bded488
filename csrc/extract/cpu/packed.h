// A block's weights, laid out once a call for the products that this CPU does best, and what turns rows of x into z.
#pragma once
#include "heads/cpu/fit.h"
#include "table.h"

namespace tlplat::extract {

template <class T>
class PackedBlock {
 public:
  PackedBlock(const TlplatBlock& p, Team& team)
      : p_(p), k_(block_kernels<T>(p.isa)), round_(round_kernels(p.isa)), tiles_(choose(p)),
        bytes_(tiles_ ? tiles_->bytes : int(sizeof(T))), step_(tiles_ ? tiles_->step : 1), ld_(round_up(p.d, kLanes)),
        steps_((p.k + step_ - 1) / step_) {
    bias_ = vector(p.bias, T(0)), norm_weight_ = vector(p.norm_weight, T(1)), norm_bias_ = vector(p.norm_bias, T(0));
    column_ = Buffer<float>(ld_), offset_ = Buffer<int32_t>(ld_);
    if (!tiles_ && p.precision == TLPLAT_FULL) return;
    packed_ = Buffer<char>((tiles_ ? ld_ : p.d) * steps_ * bytes_);
    team.run([&](int me) {
      int64_t begin, end;
      team.share(me, p.d, wide(), &begin, &end);
      pack(begin, end);
    });
  }

  const TlplatBlock& problem() const { return p_; }
  const BlockKernels<T>& kernels() const { return k_; }
  int64_t ld() const { return ld_; }                       // between rows of z
  int64_t row_bytes() const { return steps_ * bytes_; }    // of an encoded row

  // Row i of x in the layout of the product's left side; `wide` and `q` hold k numbers. Returns the row's scale (int8).
  float encode(const char* x, T* wide, int8_t* q, char* to) const {
    if (p_.precision == TLPLAT_FULL) {
      k_.widen(x, p_.x_dtype, p_.stride, p_.k, reinterpret_cast<T*>(to));
      return 1;
    }
    const bool ready = p_.x_dtype == TLPLAT_F32 && p_.stride == 1 && sizeof(T) == 4;
    if (!ready) k_.widen(x, p_.x_dtype, p_.stride, p_.k, wide);
    const float scale = round(ready ? reinterpret_cast<const T*>(x) : wide, p_.k, q, to);
    if (p_.precision == TLPLAT_ROUND_INT8 && step_ == 4)
      for (int64_t j = 0; j < p_.k; ++j) to[j] = char(to[j] ^ 0x80);  // + 128: bytes without sign, see offset_
    return scale;
  }

  // z (rows, ld) of encoded rows and their scales; rows is a multiple of kTileRows.
  void run(const char* rows_of_x, int64_t rows, const float* scale, T* z) const {
    product(rows_of_x, rows, scale, z, false, [](int64_t, int64_t, const T*, int64_t) {});
    if (p_.norm_weight) k_.normalise(z, rows, ld_, p_.d, norm_weight_.get(), norm_bias_.get(), p_.eps);
  }

  // The same without the norm, and not left in z, which is scratch, but encoded in `to` as rows of the next block, which
  // must encode number by number (see below).
  void run_into(const PackedBlock& next, const char* rows_of_x, int64_t rows, const float* scale, T* z, char* to) const {
    product(rows_of_x, rows, scale, z, true, [&](int64_t first, int64_t count, const T* part, int64_t stride) {
      const int64_t bytes = next.bytes_ / next.step_;
      for (int64_t r = 0; r < rows; ++r)
        next.encode_part(part + r * stride, std::min(count, p_.d - first), to + r * next.row_bytes() + first * bytes);
    });
  }

  // Whether a row's numbers are encoded each by itself: int8 has a scale for the row.
  bool number_by_number() const { return p_.precision != TLPLAT_ROUND_INT8; }

 private:
  // Steps of a product between two visits of its outputs, so that a chunk's rows stay in the second-level cache.
  static constexpr int64_t kSteps = 768;

  static const Tiles* choose(const TlplatBlock& p) {
    if (p.precision == TLPLAT_ROUND_BF16 && bf16_tiles(p.isa)) return bf16_tiles(p.isa);
    if (p.precision == TLPLAT_ROUND_INT8 && int8_tiles(p.isa) && p.k < (1 << 15)) return int8_tiles(p.isa);  // fits int32
    const bool blas = sgemm_ && dgemm_ && MKL_Set_Num_Threads_Local && p.k < INT32_MAX && p.d < INT32_MAX - kLanes;
    return p.isa != kAvx512 && blas ? nullptr : &block_kernels<T>(p.isa).tiles;
  }

  int64_t wide() const { return tiles_ ? tiles_->lanes * tiles_->vectors : 1; }

  Buffer<T> vector(const void* from, T fill) const {
    Buffer<T> v(ld_);
    if (from) std::copy_n(static_cast<const T*>(from), p_.d, v.get());
    else std::fill_n(v.get(), p_.d, fill);
    return v;
  }

  // Rounded to bf16 or int8, kept as such for the instructions that take them, as whole numbers of T for the others.
  float round(const T* x, int64_t k, int8_t* q, char* to) const {
    if constexpr (sizeof(T) == 4) {
      if (p_.precision == TLPLAT_ROUND_INT8) {
        const float scale = round_.quantise(x, k, step_ == 4 ? reinterpret_cast<int8_t*>(to) : q);
        for (int64_t j = 0; step_ != 4 && j < k; ++j) reinterpret_cast<T*>(to)[j] = T(q[j]);
        return scale;
      }
      if (step_ == 2) k_.narrow(x, k, TLPLAT_BF16, to);
      else round_.round_bf16(x, k, reinterpret_cast<T*>(to));
    }
    return 1;
  }

  void encode_part(const T* x, int64_t count, char* to) const {
    if (p_.precision == TLPLAT_FULL) std::memcpy(to, x, size_t(count) * sizeof(T));
    else round(x, count, nullptr, to);
  }

  // Outputs [begin, end) of the weights into panels of wide() outputs, (steps, outputs, step); rows as they are for BLAS.
  void pack(int64_t begin, int64_t end) {
    Buffer<char> rows(wide() * row_bytes());
    Buffer<int8_t> q(p_.k);
    for (int64_t panel = begin; panel < end; panel += wide()) {
      const int64_t count = std::min(wide(), end - panel), width = tiles_ ? std::min(wide(), ld_ - panel) : 1;
      for (int64_t j = 0; j < count; ++j) {
        const T* from = static_cast<const T*>(p_.weight) + (panel + j) * p_.k;
        char* row = rows.get() + j * row_bytes();
        if (p_.precision == TLPLAT_FULL) std::memcpy(row, from, size_t(p_.k) * sizeof(T));
        else column_[panel + j] = round(from, p_.k, q.get(), row);
        for (int64_t i = 0; p_.precision == TLPLAT_ROUND_INT8 && step_ == 4 && i < p_.k; ++i)
          offset_[panel + j] += 128 * int8_t(row[i]);
      }
      char* to = packed_.get() + panel * row_bytes();
      if (bytes_ == 4) turn<uint32_t>(rows.get(), count, width, to);
      else turn<uint64_t>(rows.get(), count, width, to);
    }
  }

  // Rows of steps into steps of `width` rows, the first `count` of them given.
  template <class Step>
  void turn(const char* rows, int64_t count, int64_t width, char* to) const {
    const Step* from = reinterpret_cast<const Step*>(rows);
    Step* out = reinterpret_cast<Step*>(to);
    for (int64_t s = 0; s < steps_; ++s)
      for (int64_t j = 0; j < count; ++j) out[s * width + j] = from[j * steps_ + s];
  }

  // activation(x P^T + c) of encoded rows, in z (rows, ld); `done(first output, outputs, their z, its stride)` follows each
  // part as soon as it is there. Where `reuse`, every part may come to lie in the same place.
  template <class Done>
  void product(const char* x, int64_t rows, const float* scale, T* z, bool reuse, Done done) const {
    const auto finish = [&](int64_t first, int64_t count, T* part, int64_t stride) {
      if constexpr (sizeof(T) == 4)
        if (p_.precision == TLPLAT_ROUND_INT8)
          round_.rescale(part, rows, count, stride, scale, column_.get() + first, offset_.get() + first, step_ == 4);
      k_.activate(part, rows, count, stride, bias_.get() + first, p_.activation);
      done(first, count, part, stride);
    };
    if (!tiles_ || !steps_) {
      std::fill_n(z, rows * ld_, T(0));
      if (steps_) in_blas(reinterpret_cast<const T*>(x), rows, z);
      return finish(0, ld_, z, ld_);
    }
    reuse = reuse && steps_ <= kSteps;
    for (int64_t s = 0; s < steps_; s += kSteps)
      for (int64_t panel = 0; panel < ld_; panel += wide()) {
        const int64_t width = std::min(wide(), ld_ - panel), take = std::min(kSteps, steps_ - s);
        const int64_t stride = reuse ? wide() : ld_;
        const char* w = packed_.get() + (panel * steps_ + s * width) * bytes_;
        const Product multiply = tiles_->product[width / tiles_->lanes - 1];
        T* part = reuse ? z : z + panel;
        for (int64_t r = 0; r < rows; r += kTileRows)
          multiply(x + (r * steps_ + s) * bytes_, steps_, w, take, part + r * stride, stride, s > 0);
        if (s + take == steps_) finish(panel, width, part, stride);
      }
  }

  void in_blas(const T* x, int64_t rows, T* z) const {
    const void* w = p_.precision == TLPLAT_FULL ? p_.weight : static_cast<const void*>(packed_.get());
    gemm('T', 'N', int(p_.d), int(rows), int(p_.k), static_cast<const T*>(w), int(p_.k), x, int(p_.k), z, int(ld_));
  }

  const TlplatBlock& p_;
  const BlockKernels<T>& k_;
  const RoundKernels& round_;
  const Tiles* tiles_;  // null: the BLAS inside torch
  const int bytes_, step_;
  const int64_t ld_, steps_;
  Buffer<T> bias_, norm_weight_, norm_bias_;
  Buffer<char> packed_;
  Buffer<float> column_;     // int8: scale of each output's weights
  Buffer<int32_t> offset_;   // int8 in four-byte steps: what the 128 in every number of x adds to each output's sum
};

}  // namespace tlplat::extract
