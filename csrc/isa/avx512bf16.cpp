// AVX-512 BF16 and VNNI.
#include "extract/cpu/table.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define TLPLAT_VECTOR_BYTES 64
#include "heads/cpu/mixed.inc"

#include "extract/cpu/mixed.inc"
