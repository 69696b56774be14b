#!/bin/sh
# Compile the one C module that Triton compiles when it first meets a GPU (driver.c), so that the image
# needs no compiler: compile_triton.sh FOLDER. Runs in a build stage, where a compiler may be.
set -eu
folder=$1
shift
python=/opt/codekiln/bin/python
mkdir -p "$folder"
driver=$("$python" -c 'import importlib.util as i
print(i.find_spec("triton").submodule_search_locations[0] + "/backends/nvidia/driver.c")')
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -e "$headers/Python.h" ] || set -- libpython3-dev
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends gcc libc6-dev "$@"

# There is no driver here: a library of its name is enough to link, and to load what is not called.
scratch=$(mktemp -d)
gcc -shared -Wl,-soname,libcuda.so.1 -o "$scratch/libcuda.so.1" -x c /dev/null
TRITON_LIBCUDA_PATH=$scratch LD_LIBRARY_PATH=$scratch TRITON_CACHE_DIR=$scratch/cache "$python" -c '
import os, sys
sys.setdlopenflags(os.RTLD_LAZY)
from triton.backends.nvidia.driver import CudaUtils
CudaUtils()'
cp "$scratch"/cache/*/cuda_utils*.so "$folder/cuda_utils.so"
cp "$driver" "$folder/driver.c"
rm -r "$scratch"
