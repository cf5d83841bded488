// The kernels that take long to compile, made once in kernels.cu for ops.cu and fit.cu.
#pragma once
#include "backend.cuh"

#define TLPLAT_HEADS_KERNELS(X)                     \
  X(Pass2x1, PassArgs<float>)                       \
  X(Pass2x3, PassArgs<float>)                       \
  X(Pass2x6, PassArgs<float>)                       \
  X(Pass2x8, PassArgs<float>)                       \
  X(Pass4x3, PassArgs<float>)                       \
  X(Pass4x6, PassArgs<float>)                       \
  X(Pass4x8, PassArgs<float>)                       \
  X(Pass8x4, PassArgs<float>)                       \
  X(Pass13x3, PassArgs<float>)                      \
  X(LogitsKernel<TensorTile>, ProductArgs<float>)   \
  X(GradientKernel<TensorTile>, ProductArgs<float>) \
  X(LogitsKernel<ScalarTile<float>>, ProductArgs<float>)     \
  X(GradientKernel<ScalarTile<float>>, ProductArgs<float>)   \
  X(LogitsKernel<ScalarTile<double>>, ProductArgs<double>)   \
  X(GradientKernel<ScalarTile<double>>, ProductArgs<double>)

namespace tlplat {
namespace gpu {

using Pass2x1 = PassKernel<2, 1, 2>;
using Pass2x3 = PassKernel<2, 3, 2>;
using Pass2x6 = PassKernel<2, 6, 1>;
using Pass2x8 = PassKernel<2, 8, 1>;
using Pass4x3 = PassKernel<4, 3, 2>;
using Pass4x6 = PassKernel<4, 6, 1>;
using Pass4x8 = PassKernel<4, 8, 1>;
using Pass8x4 = PassKernel<8, 4, 1>;
using Pass13x3 = PassKernel<13, 3, 1>;

#if !defined(TLPLAT_KERNELS_HERE)
#define TLPLAT_DECLARE(Kernel, Args) extern template void StreamBackend::launch<Kernel, Args>(Grid, int, const Args&, Start);
TLPLAT_HEADS_KERNELS(TLPLAT_DECLARE)
#endif

}  // namespace gpu
}  // namespace tlplat
