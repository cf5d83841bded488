// AVX2, FMA and F16C.
#include "extract/cpu/table.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#define TLPLAT_ISA avx2
#define TLPLAT_VECTOR_BYTES 32
#include "heads/cpu/kernels.inc"

#include "extract/cpu/kernels.inc"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
