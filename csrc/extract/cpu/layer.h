// A transformer layer, a chunk of whole texts at a time: everything between its input and its output stays near the core.
#pragma once
#include <vector>

#include "packed.h"

namespace tlplat::extract {

struct Chunk {
  int64_t text, texts, row, rows;
};

class PackedLayer {
 public:
  PackedLayer(const TlplatLayer& p, Team& team)
      : p_(p), qkv_(p.qkv, team), mix_(p.mix, team), up_(p.up, team), down_(p.down, team) {
    for (int64_t text = 0, row = 0; text < p.texts; ++text) {
      const int64_t length = p.lengths[text];
      if (chunks_.empty() || chunks_.back().rows + length > kRows) chunks_.push_back({text, 0, row, 0});
      Chunk& last = chunks_.back();
      ++last.texts, last.rows += length, row += length;
      most_ = std::max(most_, last.rows), longest_ = std::max(longest_, length);
    }
  }

  const std::vector<Chunk>& chunks() const { return chunks_; }

 private:
  friend class LayerWalk;
  static constexpr int64_t kRows = 96;  // of a chunk, but for longer texts: some 7 kB a row of 384 channels

  const TlplatLayer& p_;
  const PackedBlock<float> qkv_, mix_, up_, down_;
  std::vector<Chunk> chunks_;
  int64_t most_ = 0, longest_ = 0;
};

// One thread's buffers.
class LayerWalk {
 public:
  explicit LayerWalk(const PackedLayer& layer)
      : l_(layer), p_(layer.p_), block_(block_kernels<float>(p_.qkv.isa)), ld_(layer.mix_.ld()) {
    const int64_t rows = round_up(layer.most_, kTileRows) + kTileRows, inner = p_.up.d, head = p_.hidden / p_.heads;
    const int64_t longest = layer.longest_ + kLanes;
    narrow_ = Buffer<char>(rows * layer.qkv_.row_bytes()), inner_ = Buffer<char>(rows * layer.down_.row_bytes());
    big_ = Buffer<float>(rows * std::max(layer.qkv_.ld(), layer.up_.ld())), mixed_ = Buffer<float>(rows * ld_);
    sum_ = Buffer<float>(rows * ld_), scale_ = Buffer<float>(rows), wide_ = Buffer<float>(std::max(p_.hidden, inner));
    q_ = Buffer<int8_t>(std::max(p_.hidden, inner));
    work_ = Buffer<float>((longest + kTileRows) * (2 * (head + kLanes) + kTileRows));
    norms_ = Buffer<float>(4 * ld_);
    const void* given[] = {p_.norm1_weight, p_.norm1_bias, p_.norm2_weight, p_.norm2_bias};
    for (int i = 0; i < 4; ++i) std::copy_n(static_cast<const float*>(given[i]), p_.hidden, norms_.get() + i * ld_);
  }

  void run(const Chunk& chunk) {
    const int64_t rows = chunk.rows, tiles = round_up(rows, kTileRows);
    const float* x = static_cast<const float*>(p_.x) + chunk.row * p_.hidden;
    float* out = static_cast<float*>(p_.out) + chunk.row * p_.hidden;
    encode(l_.qkv_, x, p_.hidden, rows, narrow_.get());
    l_.qkv_.run(narrow_.get(), tiles, scale_.get(), big_.get());
    for (int64_t text = chunk.text, row = 0; text < chunk.text + chunk.texts; row += p_.lengths[text++])
      block_.attend(big_.get() + row * l_.qkv_.ld(), l_.qkv_.ld(), p_.lengths[text], p_.heads, p_.hidden / p_.heads,
                    work_.get(), mixed_.get() + row * ld_, ld_);
    encode(l_.mix_, mixed_.get(), ld_, rows, narrow_.get());
    l_.mix_.run(narrow_.get(), tiles, scale_.get(), sum_.get());
    add(x, p_.hidden, rows, 0, p_.eps1);
    std::swap(sum_, mixed_);  // the feed-forward's input
    encode(l_.up_, mixed_.get(), ld_, rows, narrow_.get());
    if (l_.down_.number_by_number()) {
      l_.up_.run_into(l_.down_, narrow_.get(), tiles, scale_.get(), big_.get(), inner_.get());
    } else {
      l_.up_.run(narrow_.get(), tiles, scale_.get(), big_.get());
      encode(l_.down_, big_.get(), l_.up_.ld(), rows, inner_.get());
    }
    l_.down_.run(inner_.get(), tiles, scale_.get(), sum_.get());
    add(mixed_.get(), ld_, rows, 2, p_.eps2);
    for (int64_t r = 0; r < rows; ++r) std::copy_n(sum_.get() + r * ld_, p_.hidden, out + r * p_.hidden);
  }

 private:
  void encode(const PackedBlock<float>& block, const float* x, int64_t stride, int64_t rows, char* to) {
    for (int64_t r = 0; r < rows; ++r)
      scale_[r] = block.encode(reinterpret_cast<const char*>(x + r * stride), wide_.get(), q_.get(), to + r * block.row_bytes());
  }

  // sum_ = norm(sum_ + x)
  void add(const float* x, int64_t stride, int64_t rows, int norm, double eps) {
    for (int64_t r = 0; r < rows; ++r)
      tlplat::kernels<float>(p_.qkv.isa).axpy(1.0f, x + r * stride, sum_.get() + r * ld_, p_.hidden);
    const float* weight = norms_.get() + norm * ld_;
    block_.normalise(sum_.get(), rows, ld_, p_.hidden, weight, weight + ld_, eps);
  }

  const PackedLayer& l_;
  const TlplatLayer& p_;
  const BlockKernels<float>& block_;
  const int64_t ld_;  // between rows of hidden numbers
  Buffer<char> narrow_, inner_;
  Buffer<float> big_, mixed_, sum_, scale_, wide_, work_, norms_;
  Buffer<int8_t> q_;
};

}  // namespace tlplat::extract
