// Compiles the kernels that kernels.cuh lists.
#define TLPLAT_KERNELS_HERE
#include "kernels.cuh"

namespace tlplat {
namespace gpu {

#define TLPLAT_DEFINE(Kernel, Args) template void StreamBackend::launch<Kernel, Args>(Grid, int, const Args&, Start);
TLPLAT_HEADS_KERNELS(TLPLAT_DEFINE)

}  // namespace gpu
}  // namespace tlplat
