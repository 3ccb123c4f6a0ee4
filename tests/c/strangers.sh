#!/usr/bin/env bash
# Projects of somebody else, by CMake and by make, that find what was installed, link it, and run. $1: the prefix,
# $2: where to build, $3: where the libraries are, if not in $1/lib.
set -euo pipefail
cd "$(dirname "$0")/stranger"

prefix=$1
build=$2
lib=${3:-$prefix/lib}
rm -rf "$build"
mkdir -p "$build/newer"

# $1: a program; $2: what it is to be linked to, or not to be: shared or static.
run() {
    local said linked=static
    said=$(LD_LIBRARY_PATH=$lib "$1")
    case $said in "hello from redkeep "*) ;; *) echo "$1 said: $said" >&2; exit 1 ;; esac
    if readelf -d "$1" | grep -q 'NEEDED.*\[libredkeep\.so\.[0-9]*\]'; then linked=shared; fi
    if [ "$linked" != "$2" ]; then echo "$1 is linked $linked, not $2" >&2; exit 1; fi
}

# What they say is shown, and none of it may be a warning.
cmake() { command cmake -S . -DCMAKE_PREFIX_PATH="$prefix" "$@" 2>&1 | tee "$build/cmake-says"; }
without_warning() {
    if grep -q "CMake .*Warning" "$build/cmake-says"; then echo "CMake warns" >&2; exit 1; fi
}

cmake -B "$build/cmake"
without_warning
command cmake --build "$build/cmake"
# A version that is not there is not found.
if cmake -B "$build/wrong" -DWANTED=99.0; then echo "redkeep 99.0 was found" >&2; exit 1; fi

for ask in --validate --cflags "--libs" "--static --libs"; do
    # shellcheck disable=SC2086 # the options are several words
    if ! PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --print-errors $ask redkeep 2>"$build/pkg-config-says" ||
        [ -s "$build/pkg-config-says" ]; then
        echo "pkg-config $ask says: $(cat "$build/pkg-config-says")" >&2
        exit 1
    fi
done
PKG_CONFIG_PATH=$lib/pkgconfig make OUT="$build/make"

for by in cmake make; do
    run "$build/$by/c-shared" shared
    run "$build/$by/c-static" static
    run "$build/$by/cpp-shared" shared
done

# A program that was compiled for another version than the one that it meets says so.
cp "$prefix/include/redkeep.hpp" "$build/newer"
sed -e 's/\(define RK_VERSION_MINOR\) .*/\1 99/' -e 's/\(define RK_VERSION_STRING\) .*/\1 "0.99.0"/' \
    "$prefix/include/redkeep.h" >"$build/newer/redkeep.h"
"${CXX:-g++}" -std=c++17 "-I$build/newer" main.cpp -o "$build/newer/program" "-L$lib" -lredkeep
for manager in own global; do
    if LD_LIBRARY_PATH=$lib "$build/newer/program" "$manager" 2>"$build/newer/said"; then
        echo "a program for redkeep 0.99.0 runs with an older one ($manager)" >&2
        exit 1
    fi
    grep "compiled for redkeep 0.99.0, but runs with version" "$build/newer/said"
done
