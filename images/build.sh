#!/bin/sh
# Build targets of the Containerfile with buildah, or with docker where there is no buildah:
#
#   sh images/build.sh data sandbox          every target without arguments
#
# BASE_IMAGE      the base; a release must name it by digest. Unset, Debian's Python is made into one
#                 with mmdebstrap (root; SUITE, by default bookworm), for machines without a registry.
# RELEASE=1       refuse a base that has no digest, and a tree that is not committed
# TORCH_INDEX     where the CPU build of torch lies, for train-cpu
# PYTHON          an interpreter with codekiln installed, which says names and tags
# IMAGE_CACHE     where a made base is kept, outside the checkout
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
[ $# -gt 0 ] || set -- data train-cpu train-gpu train-tpu sandbox

if [ "${RELEASE:-}" = 1 ]; then
    case "${BASE_IMAGE:-}" in
    *@sha256:*) ;;
    *)
        echo "build.sh: expected BASE_IMAGE with a digest (name@sha256:...) for a release, got '${BASE_IMAGE:-}'" >&2
        exit 2
        ;;
    esac
    state=$(git status --porcelain)
    [ -z "$state" ] || {
        echo "build.sh: expected a committed tree for a release: commit or remove what \`git status\` names" >&2
        exit 2
    }
fi

name_of() { # target -> name:tag
    "$PYTHON" -m components.stage.images "$1"
}

make_base() { # Debian's Python as an image, once
    suite=${SUITE:-bookworm}
    BASE_IMAGE=localhost/codekiln-base:$suite
    buildah inspect --type image "$BASE_IMAGE" >/dev/null 2>&1 && return
    cache=${IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/codekiln-images}
    mkdir -p "$cache"
    if [ ! -e "$cache/$suite.tar" ]; then
        mmdebstrap -q --variant=minbase --include=python3,python3-venv,ca-certificates \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' \
            --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*' \
            "$suite" "$cache/$suite.tar.part"
        mv "$cache/$suite.tar.part" "$cache/$suite.tar"
    fi
    container=$(buildah from scratch)
    buildah add -q "$container" "$cache/$suite.tar" / >/dev/null
    buildah commit -q "$container" "$BASE_IMAGE" >/dev/null
    buildah rm "$container" >/dev/null
}

if command -v buildah >/dev/null; then
    [ -n "${BASE_IMAGE:-}" ] || make_base
    # pip and apt of this machine may need certificates, packages and settings of their own: mounted
    # for the build, in no layer. Of apt's settings those of fetching alone: others run programs.
    settings=$(mktemp -d)
    trap 'rm -rf "$settings"' EXIT
    mkdir "$settings/packages"
    printf '[global]\nfind-links = /mnt/packages\n' >"$settings/pip.conf"
    set -- "$@" --
    mounts="-v $settings/pip.conf:/etc/pip.conf:ro -v ${PIP_FIND_LINKS:-$settings/packages}:/mnt/packages:ro"
    if command -v apt-config >/dev/null; then
        mkdir "$settings/apt.conf.d"
        apt-config dump | grep '^Acquire::' >"$settings/apt.conf.d/99machine" || true
        mounts="$mounts -v $settings/apt.conf.d:/etc/apt/apt.conf.d:ro"
    fi
    [ -z "${SSL_CERT_FILE:-}" ] || mounts="$mounts -v $SSL_CERT_FILE:/etc/ssl/certs/ca-certificates.crt:ro"
    while [ "$1" != -- ]; do
        # shellcheck disable=SC2086 # mounts are words
        buildah bud -q --layers --isolation "${BUILDAH_ISOLATION:-chroot}" --network host $mounts \
            --build-arg "BASE_IMAGE=$BASE_IMAGE" --build-arg "TORCH_INDEX=${TORCH_INDEX:-}" \
            --target "$1" -t "$(name_of "$1")" \
            -f images/Containerfile .
        echo "built $(name_of "$1"), $(buildah images --format '{{.Size}}' "$(name_of "$1")" | head -n 1)"
        shift
    done
elif command -v docker >/dev/null; then
    [ -n "${BASE_IMAGE:-}" ] || {
        echo "build.sh: expected BASE_IMAGE, got none: docker takes a base from a registry" >&2
        exit 2
    }
    for target; do
        docker build -q --build-arg "BASE_IMAGE=$BASE_IMAGE" \
            --build-arg "TORCH_INDEX=${TORCH_INDEX:-}" --target "$target" -t "$(name_of "$target")" \
            -f images/Containerfile .
        size=$(docker image inspect --format '{{.Size}}' "$(name_of "$target")")
        echo "built $(name_of "$target"), $((size / 1000000)) MB"
    done
else
    echo "build.sh: expected buildah or docker on the PATH, found neither" >&2
    exit 2
fi
