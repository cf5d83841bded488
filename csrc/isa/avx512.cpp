// AVX-512 F, BW, DQ and VL.
#include "extract/cpu/table.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif

#define TLPLAT_ISA avx512
#define TLPLAT_VECTOR_BYTES 64
#include "heads/cpu/kernels.inc"

#include "extract/cpu/kernels.inc"

#include "heads/cpu/wide.inc"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
