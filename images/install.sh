#!/bin/sh
# Fill the environment /opt/codekiln, which has no pip of its own, in the build stages:
#
#   install.sh packages LOCK [PACKAGE ...]     everything in a lock, built or fetched by its hash
#   install.sh wheel ROOT                      codekiln's own files below ROOT, and check that its
#                                              packages are there and fit together
#
# Packages after the lock are those that it leaves out: torch's CPU build lies in an index of its own
# (TORCH_INDEX) and has other hashes for each Python.
set -eu
pip=/opt/build/bin/pip
install="$pip --python /opt/codekiln/bin/python install --no-cache-dir --no-index --no-deps"
case $1 in
packages)
    lock=$2
    shift 2
    folder=$(mktemp -d)
    if [ $# -gt 0 ]; then
        $pip wheel --no-cache-dir --no-deps -w "$folder" \
            ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$@"
    fi
    # Wheels are fetched, sdists built with the tools of locks/build.txt and nothing else.
    $pip wheel --no-cache-dir --no-deps --require-hashes --no-build-isolation -w "$folder" -r "$lock"
    python3 -m venv --without-pip /opt/codekiln
    $install "$folder"/*.whl
    rm -r "$folder"
    ;;
wheel)
    $install --root "$2" /wheels/*.whl
    $install /wheels/*.whl
    $pip --python /opt/codekiln/bin/python check
    ;;
*)
    echo "install.sh: expected packages or wheel, got '$1'" >&2
    exit 2
    ;;
esac
