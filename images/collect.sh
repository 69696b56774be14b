#!/bin/sh
# Copy a Python interpreter with its standard library, a shell and gzip into an empty root, and the
# shared libraries that they load: collect.sh ROOT. Runs in the build of the target `sandbox`.
set -eu
root=$1

copy() { # a file or folder to the same place; links become what they point to
    mkdir -p "$root$(dirname "$1")"
    cp -RL "$1" "$root$1"
}

copy_libraries() { # what the loader opens for a binary
    ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | sort -u | while read -r library; do
        [ -e "$root$library" ] || copy "$library"
    done
}

python=$(readlink -f "$(command -v python3)")
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')

copy "$python"
mkdir -p "$root/usr/bin" "$root/bin" "$root$library"
for name in python python3; do
    [ -e "$root$(dirname "$python")/$name" ] || ln -s "$(basename "$python")" "$root$(dirname "$python")/$name"
done
# Left out: tests, windows, installers, editors, compilers' settings, and every installed package.
(cd "$library" && tar -cf - \
    --exclude=./test --exclude=./tests --exclude=./idlelib --exclude=./tkinter --exclude=./turtledemo \
    --exclude=./ensurepip --exclude=./venv --exclude=./lib2to3 --exclude=./pydoc_data \
    --exclude='./config-*' --exclude=./site-packages --exclude=./dist-packages --exclude=./EXTERNALLY-MANAGED \
    --exclude=./sitecustomize.py .) | tar -xf - -C "$root$library"

for program in sh gzip; do
    path=$(command -v "$program")
    mkdir -p "$root$(dirname "$path")"
    cp -L "$path" "$root$path"
    copy_libraries "$path"
done
# gzip of some distributions is also called by its other path.
[ -e "$root/bin/sh" ] || cp "$root$(command -v sh)" "$root/bin/sh"

copy_libraries "$python"
find "$library/lib-dynload" -name '*.so' | while read -r module; do copy_libraries "$module"; done
[ ! -d /usr/share/zoneinfo ] || copy /usr/share/zoneinfo

mkdir -p "$root/proc" "$root/dev" "$root/sys" "$root/etc" "$root/programs" "$root/opt/codekiln"
mkdir -m 1777 "$root/tmp"
# It must run before it is taken: a missing library is found here, not in a pod.
chroot "$root" "$python" -P -s -S -c 'import ctypes, decimal, hashlib, json, lzma, random, sqlite3, ssl, zlib'
echo ok | chroot "$root" gzip -c | chroot "$root" sh -c 'gzip -dc' >/dev/null
