// The table of an instruction set; heads/cpu/dispatch.cpp says which one serves.
#include "table.h"

namespace tlplat::extract {

#define TLPLAT_DECLARE(isa)               \
  namespace isa {                         \
  extern const BlockKernels<float> f32;   \
  extern const BlockKernels<double> f64;  \
  extern const RoundKernels rounding;     \
  }
TLPLAT_DECLARE(generic)
#if defined(__x86_64__)
TLPLAT_DECLARE(avx2)
TLPLAT_DECLARE(avx512)
#define TLPLAT_CHOOSE(isa, name) return isa == kAvx512 ? avx512::name : isa == kAvx2 ? avx2::name : generic::name
#else
#define TLPLAT_CHOOSE(isa, name) \
  (void)isa;                     \
  return generic::name
#endif

template <>
const BlockKernels<float>& block_kernels<float>(int32_t isa) { TLPLAT_CHOOSE(isa, f32); }
template <>
const BlockKernels<double>& block_kernels<double>(int32_t isa) { TLPLAT_CHOOSE(isa, f64); }
const RoundKernels& round_kernels(int32_t isa) { TLPLAT_CHOOSE(isa, rounding); }

}  // namespace tlplat::extract
