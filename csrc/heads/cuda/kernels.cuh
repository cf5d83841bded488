// The kernels that take long to compile, made once in kernels.cu for ops.cu and fit.cu.
#pragma once
#include "backend.cuh"

#define TLPLAT_HEADS_KERNELS(X)                     \
  X(Pass2x1x8, PassArgs<float>)                     \
  X(Pass2x3x8, PassArgs<float>)                     \
  X(Pass2x3x16, PassArgs<float>)                    \
  X(Pass2x4x16, PassArgs<float>)                    \
  X(Pass4x3x8, PassArgs<float>)                     \
  X(Pass4x3x16, PassArgs<float>)                    \
  X(Pass4x4x16, PassArgs<float>)                    \
  X(Pass8x2x16, PassArgs<float>)                    \
  X(Pass13x3x8, PassArgs<float>)                    \
  X(LogitsKernel<TensorTile>, ProductArgs<float>)   \
  X(GradientKernel<TensorTile>, ProductArgs<float>) \
  X(LogitsKernel<ScalarTile<float>>, ProductArgs<float>)     \
  X(GradientKernel<ScalarTile<float>>, ProductArgs<float>)   \
  X(LogitsKernel<ScalarTile<double>>, ProductArgs<double>)   \
  X(GradientKernel<ScalarTile<double>>, ProductArgs<double>)

namespace tlplat {
namespace gpu {

using Pass2x1x8 = PassKernel<2, 1, 2, 8>;
using Pass2x3x8 = PassKernel<2, 3, 2, 8>;
using Pass2x3x16 = PassKernel<2, 3, 1, 16>;
using Pass2x4x16 = PassKernel<2, 4, 1, 16>;
using Pass4x3x8 = PassKernel<4, 3, 2, 8>;
using Pass4x3x16 = PassKernel<4, 3, 1, 16>;
using Pass4x4x16 = PassKernel<4, 4, 1, 16>;
using Pass8x2x16 = PassKernel<8, 2, 1, 16>;
using Pass13x3x8 = PassKernel<13, 3, 1, 8>;

#if !defined(TLPLAT_KERNELS_HERE)
#define TLPLAT_DECLARE(Kernel, Args) extern template void StreamBackend::launch<Kernel, Args>(Grid, int, const Args&);
TLPLAT_HEADS_KERNELS(TLPLAT_DECLARE)
#endif

}  // namespace gpu
}  // namespace tlplat
