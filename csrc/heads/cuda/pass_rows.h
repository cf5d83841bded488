// How rows and weights come into the shared memory of a pass for few columns (pass.h).
#pragma once
#include "pass_args.h"
#include "tile.h"

namespace tlplat {
namespace gpu {

struct PassRows {
  static constexpr int kWarps = kPassWarps;

  // The row at place r of a tile, -1 past the end.
  static TLPLAT_DEVICE int64_t row_of(const PassArgs<float>& p, int group, int64_t tile, int r) {
    const int64_t at = p.rows.begin + tile * kPassRows + r;
    return at < p.rows.end ? row_at(p.rows, group, at) : -1;
  }

  static TLPLAT_DEVICE int64_t label_of(const PassArgs<float>& p, int64_t i) { return p.rows.y && i >= 0 ? p.rows.y[i] : 0; }

  static TLPLAT_DEVICE void note(const PassArgs<float>& p, int64_t i, int64_t label, float* info) {
    const Target<float> t = i < 0 ? Target<float>{0, 0, 0, 0} : target_of_label(p.rows, label);
    info[0] = float(t.label), info[1] = t.a, info[2] = t.mass, info[3] = t.kept;
  }

  static TLPLAT_DEVICE bool is_narrow(const Rows<float>& rows) {
    return rows.aligned && (rows.z_dtype == TLPLAT_BF16 || rows.z_dtype == TLPLAT_F16);
  }

  static TLPLAT_DEVICE void load_weights(
      const PassArgs<float>& p, int first, int columns, const PassLayout& at, float* weights) {
    const int warp = tid() / 32, lane = tid() % 32, d = int(p.rows.d);
    const float* w = p.w + int64_t(first) * p.classes * p.rows.d;
    const bool fours = d % 4 == 0 && reinterpret_cast<uintptr_t>(w) % 16 == 0;
    for (int c = warp; c < columns; c += kWarps) {
      const float* from = w + c * p.rows.d;
      if (fours)
        for (int j = lane * 4; j < at.width; j += 128) copy_async<16>(weights + c * at.ld + j, j < d ? from + j : w, j < d ? 16 : 0);
      else
        for (int j = lane; j < at.width; j += 32) copy_async<4>(weights + c * at.ld + j, j < d ? from + j : w, j < d ? 4 : 0);
    }
  }

  // Starts to copy the rows of a tile; zeros where there is no row, and from d on.
  static TLPLAT_DEVICE void fetch(const Rows<float>& rows, const int64_t* index, const PassLayout& at, bool narrow, void* stage) {
    const int lane = tid() % 32, d = int(rows.d);
    for (int r = tid() / 32; r < kPassRows; r += kWarps) {
      const int64_t i = index[r] < rows.n ? index[r] : -1;
      const int there = i < 0 ? 0 : d;
      if (narrow) {
        const uint16_t* from = static_cast<const uint16_t*>(rows.z) + (i < 0 ? 0 : i * rows.z_stride);
        uint16_t* to = static_cast<uint16_t*>(stage) + r * at.width;
        for (int j = lane * 4; j < at.width; j += 128) {
          const int left = there - j < 4 ? there - j : 4;
          copy_async<8>(to + j, left > 0 ? from + j : from, left > 0 ? 2 * left : 0);
        }
        continue;
      }
      float* to = static_cast<float*>(stage) + r * at.ld;
      if (rows.z_dtype == TLPLAT_F32) {
        const float* from = static_cast<const float*>(rows.z) + (i < 0 ? 0 : i * rows.z_stride);
        if (rows.aligned) {
          for (int j = lane * 4; j < at.width; j += 128) {
            const int left = there - j < 4 ? there - j : 4;
            copy_async<16>(to + j, left > 0 ? from + j : from, left > 0 ? 4 * left : 0);
          }
        } else {
          for (int j = lane; j < at.width; j += 32) copy_async<4>(to + j, j < there ? from + j : from, j < there ? 4 : 0);
        }
        continue;
      }
      for (int j = lane; j < at.width; j += 32)
        to[j] = j < there ? float(element(rows.z, rows.z_dtype, i * rows.z_stride + j)) : 0.0f;
    }
  }

  static TLPLAT_DEVICE void widen(const Rows<float>& rows, const uint16_t* raw, const PassLayout& at, float* z) {
    const bool brain = rows.z_dtype == TLPLAT_BF16;
    for (int r = tid() / 32; r < kPassRows; r += kWarps)
      for (int j = tid() % 32 * 4; j < at.width; j += 128) {
        const FourHalves from = *reinterpret_cast<const FourHalves*>(raw + r * at.width + j);
        Four to;
        TLPLAT_UNROLL
        for (int e = 0; e < 4; ++e) to.v[e] = brain ? widen_bf16(from.v[e]) : widen_f16(from.v[e]);
        *reinterpret_cast<Four*>(z + r * at.ld + j) = to;
      }
  }
};

}  // namespace gpu
}  // namespace tlplat
