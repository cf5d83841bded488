// Whatever the compiler targets by default: SSE2 on x86-64, NEON on arm64.
#include "extract/cpu/table.h"

#define TLPLAT_ISA generic
#define TLPLAT_VECTOR_BYTES 16
#include "heads/cpu/kernels.inc"

#include "extract/cpu/kernels.inc"
