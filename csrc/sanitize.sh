#!/bin/sh
# The native tests under AddressSanitizer and UndefinedBehaviorSanitizer: sh csrc/sanitize.sh [pytest arguments].
# Works on a copy, so that the library beside the package is not used. libstdc++ is preloaded as well: without it the first
# C++ exception aborts.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$root/tlplat" "$root/csrc" "$root/tests" "$root/pyproject.toml" "$copy"
rm -f "$copy"/tlplat/_C.*
cd "$copy"
export TLPLAT_CACHE_DIR="$copy/cache" TLPLAT_FORCE_EXT=1 PYTHONPATH="$copy" PYTHONMALLOC=malloc
export TLPLAT_CXXFLAGS="-g1 -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined"
python -W ignore -c 'from tlplat.ops import build_info; print(build_info()["path"])'  2>/dev/null || true
export ASAN_OPTIONS=detect_leaks=0:exitcode=99:allocator_may_return_null=1:new_delete_type_mismatch=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# The shim is built here, outside the tests' time limit.
PYTHONPATH="$copy:$copy/tests" python -W ignore -c 'import simt_shim; simt_shim.path()'
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so.6)"
# The CUDA kernels' bodies under the SIMT shim.
python -m pytest tests/ops/cuda/test_simt.py tests/ops/cuda/test_simt_fit.py -q -p no:cacheprovider \
  -k "(float32 or bfloat16 or views or no_rows or early or lbfgs or chunks or order) and not extreme"
python -m pytest tests/ops/test_native.py tests/ops/test_native_extract.py -q -p no:cacheprovider \
  -k "reference or repeatable or views or gradcheck or threads or bf16 or folds" "$@"
