// fit_softmax_heads on a GPU, called by tlplat/ops/cuda_fit.py through ctypes.
#include "kernels.cuh"
#include "fit_api.h"

TLPLAT_DEFINE_FIT_API(tlplat::gpu::GraphBackend)
