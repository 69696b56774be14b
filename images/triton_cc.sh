#!/bin/sh
# The C compiler of the image train-gpu, as Triton calls it: it hands out the module that was compiled
# with the image (compile_triton.sh). Triton compiles nothing else; whatever else is asked for fails.
set -eu
here=$(dirname "$(readlink -f "$0")")
given=
made=
while [ $# -gt 0 ]; do
    case $1 in
    -o)
        made=$2
        shift
        ;;
    *.c) given=$1 ;;
    esac
    shift
done
if [ -z "$made" ] || ! cmp -s "$given" "$here/driver.c"; then
    echo "triton_cc.sh: expected the driver.c of this image's Triton, got '$given': there is no compiler in the image" >&2
    exit 1
fi
cp "$here/cuda_utils.so" "$made"
