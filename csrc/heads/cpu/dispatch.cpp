// Which table serves: the widest that this build has, the CPU offers and ATEN_CPU_CAPABILITY allows.
#include <cstdlib>
#include <cstring>

#include "table.h"

namespace tlplat {

#define TLPLAT_DECLARE(isa)              \
  namespace isa {                        \
  extern const Kernels<float> f32;       \
  extern const Kernels<double> f64;      \
  }
TLPLAT_DECLARE(generic)
#if defined(__x86_64__)
TLPLAT_DECLARE(avx2)
TLPLAT_DECLARE(avx512)
namespace avx512 {
extern const WideKernels wide;
}
namespace avx512bf16 {
extern const MixedKernels mixed;
}
#endif

int32_t best_isa() {
  int32_t best = kGeneric;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = kAvx2;
  if (best == kAvx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    best = kAvx512;
  if (const char* wanted = std::getenv("ATEN_CPU_CAPABILITY")) {
    if (!std::strcmp(wanted, "default")) best = kGeneric;
    if (!std::strcmp(wanted, "avx2") && best > kAvx2) best = kAvx2;
  }
#endif
  return best;
}

const MixedKernels* mixed_kernels(int32_t isa) {
#if defined(__x86_64__)
  if (isa == kAvx512 && __builtin_cpu_supports("avx512bf16")) return &avx512bf16::mixed;
#endif
  (void)isa;
  return nullptr;
}

const WideKernels* wide_kernels(int32_t isa) {
#if defined(__x86_64__)
  if (isa == kAvx512) return &avx512::wide;
#endif
  (void)isa;
  return nullptr;
}

template <>
const Kernels<float>& kernels<float>(int32_t isa) {
#if defined(__x86_64__)
  if (isa == kAvx512) return avx512::f32;
  if (isa == kAvx2) return avx2::f32;
#endif
  (void)isa;
  return generic::f32;
}

template <>
const Kernels<double>& kernels<double>(int32_t isa) {
#if defined(__x86_64__)
  if (isa == kAvx512) return avx512::f64;
  if (isa == kAvx2) return avx2::f64;
#endif
  (void)isa;
  return generic::f64;
}

}  // namespace tlplat
