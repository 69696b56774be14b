#!/bin/sh
# Write what a built target holds, package by package, as SPDX 2.3: sbom.sh FOLDER TARGET ...
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SYFT=${SYFT:-.venv/bin/syft}
folder=$1
shift
mkdir -p "$folder"
layers=$(mktemp -d)
trap 'rm -rf "$layers"' EXIT
for target; do
    name=$("$PYTHON" -m components.stage.images "$target")
    if command -v buildah >/dev/null; then
        buildah push -q --disable-compression "$name" "oci:$layers/$target"
        source="oci-dir:$layers/$target"
    else
        source="docker:$name"
    fi
    SYFT_CHECK_FOR_APP_UPDATE=false "$SYFT" scan -q "$source" -o "spdx-json=$folder/$target.spdx.json"
    echo "wrote $folder/$target.spdx.json"
done
