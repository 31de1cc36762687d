#!/usr/bin/env bash
# Installs a build into an empty directory and builds a program against that: install_check.sh BUILD_DIR CMAKE CC
set -euo pipefail

build=$1 cmake=$2 cc=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$cmake" --install "$build" --prefix "$scratch/prefix" > "$scratch/log"
"$cmake" -S "$here" -B "$scratch/cmake" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$scratch/prefix" >> "$scratch/log"
"$cmake" --build "$scratch/cmake" >> "$scratch/log"
"$scratch/cmake/with_ringloop"
"$scratch/cmake/with_static"
if grep -q '^RINGLOOP_DOCTOR:BOOL=ON' "$build/CMakeCache.txt"; then "$scratch/prefix/bin/ringloop-doctor" --version; fi

pc=$(dirname "$(find "$scratch/prefix" -name ringloop.pc)")
export PKG_CONFIG_PATH=$pc
read -ra flags <<< "$(pkg-config --cflags --libs ringloop)"
"$cc" -std=c11 -Wall -Wextra -pedantic -Werror "$here/consumer.c" "${flags[@]}" -o "$scratch/with_pkg_config"
LD_LIBRARY_PATH=$(pkg-config --variable=libdir ringloop) "$scratch/with_pkg_config"
