#!/bin/sh
# Push built targets and write their digests into images/locations.json: push.sh [TARGET ...]
#
# From then on compiled pipelines and manifests name the images by digest. You must be logged in
# (`buildah login`, `docker login`); commit the file afterwards.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
[ $# -gt 0 ] || set -- data train-cpu train-gpu train-tpu sandbox
file=$(mktemp)
trap 'rm -f "$file"' EXIT
for target; do
    name=$("$PYTHON" -m components.stage.images "$target")
    case $name in
    registry.invalid/*)
        echo "push.sh: expected your registry in images/locations.json, got the placeholder '${name%%/*}'" >&2
        exit 2
        ;;
    esac
    if command -v buildah >/dev/null; then
        buildah push -q --digestfile "$file" "$name" "docker://$name"
        digest=$(cat "$file")
    else
        docker push -q "$name" >/dev/null
        digest=$(docker inspect --format '{{index .RepoDigests 0}}' "$name")
        digest=${digest#*@}
    fi
    "$PYTHON" -m components.stage.images "$target" --digest "$digest"
    echo "pushed ${name%:*}@$digest"
done
