// The kernels that take long to compile, made once in kernels.cu for ops.cu and fit.cu.
#pragma once
#include "backend.cuh"

#define TLPLAT_HEADS_KERNELS(X)                     \
  X(Pass4, PassArgs<float>)                         \
  X(Pass8, PassArgs<float>)                         \
  X(Pass12, PassArgs<float>)                        \
  X(Pass20, PassArgs<float>)                        \
  X(Pass32, PassArgs<float>)                        \
  X(WidePass8, PassArgs<float>)                     \
  X(WidePass12, PassArgs<float>)                    \
  X(WidePass16, PassArgs<float>)                    \
  X(LogitsKernel<TensorTile>, ProductArgs<float>)   \
  X(GradientKernel<TensorTile>, ProductArgs<float>) \
  X(LogitsKernel<ScalarTile<float>>, ProductArgs<float>)     \
  X(GradientKernel<ScalarTile<float>>, ProductArgs<float>)   \
  X(LogitsKernel<ScalarTile<double>>, ProductArgs<double>)   \
  X(GradientKernel<ScalarTile<double>>, ProductArgs<double>)

namespace tlplat {
namespace gpu {

using Pass4 = PassKernel<4, 1, 8>;
using Pass8 = PassKernel<8, 1, 8>;
using Pass12 = PassKernel<12, 1, 8>;
using Pass20 = PassKernel<20, 1, 8>;
using Pass32 = PassKernel<32, 1, 8>;
using WidePass8 = PassKernel<8, 2, 4>;
using WidePass12 = PassKernel<12, 2, 4>;
using WidePass16 = PassKernel<16, 2, 4>;

#if !defined(TLPLAT_KERNELS_HERE)
#define TLPLAT_DECLARE(Kernel, Args) extern template void StreamBackend::launch<Kernel, Args>(Grid, int, const Args&);
TLPLAT_HEADS_KERNELS(TLPLAT_DECLARE)
#endif

}  // namespace gpu
}  // namespace tlplat
