#!/usr/bin/env bash
# What users and distributions install: the Debian packages, the crate, what `cargo cinstall` makes, and the library
# without TLS or without C. Ends at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$PWD/target/packages
cargo=${CARGO:-cargo}
passed=0
rm -rf "$build"
mkdir -p "$build"

# $1: what it is; the others: the command, whose output is shown only when it fails.
try() {
    local what=$1
    shift
    if ! "$@" >"$build/output" 2>&1; then
        cat "$build/output" >&2
        echo "FAILED $what: $*" >&2
        exit 1
    fi
    passed=$((passed + 1))
    echo "ok $what"
}

fails() { ! "$@"; }

at_most() {
    local size
    strip -o "$build/stripped" "$2"
    size=$(stat -c %s "$build/stripped")
    echo "$2 has $size bytes"
    [ "$size" -le "$1" ]
}

debian() {
    local root=$build/debian triplet
    triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
    try "make deb" make --no-print-directory deb
    try "lintian" lintian --fail-on error,warning target/deb/*.deb
    try "it says what it needs" grep -q 'libc6 (>=' <(dpkg-deb -f target/deb/libredkeep0_*.deb Depends)
    for package in target/deb/libredkeep0_*.deb target/deb/libredkeep-dev_*.deb; do
        dpkg-deb -x "$package" "$root"
    done
    try "nothing in them knows where they were built" fails grep -rl "$PWD" "$root/usr/lib/$triplet/pkgconfig" \
        "$root/usr/lib/$triplet/cmake" "$root/usr/include"
    # As if they were installed: pkg-config's file has absolute paths.
    sed -i "s|=/usr|=$root/usr|" "$root/usr/lib/$triplet/pkgconfig/redkeep.pc"
    try "strangers find what is in them" tests/c/strangers.sh "$root/usr" "$build/strangers" "$root/usr/lib/$triplet"
}

# Warnings about what is in the crate; those of cargo's own configuration are none of ours.
crate() {
    try "cargo package" "$cargo" package --allow-dirty --target-dir "$build/target"
    try "cargo package warns of nothing" fails grep -q '^warning' "$build/output"
}

without_tls() {
    # For who wants it small: built for size throughout.
    try "the library without TLS" make --no-print-directory lib SHIP="$PWD/target/plain" \
        CARGOFLAGS='--no-default-features --features capi --config profile.release.opt-level=\"s\"'
    # 2,000,000 are wanted, and 2,127,360 are what it came to when this was written: it may not grow meanwhile.
    try "stripped, it has at most 2,200,000 bytes" at_most 2200000 target/plain/release/libredkeep.so
    try "its tests" "$cargo" test --no-default-features --features capi --test without_tls
}

without_c() {
    local library=$build/none/debug/libredkeep.so
    try "the crate without C" "$cargo" build --no-default-features --target-dir "$build/none"
    try "it warns of nothing" fails grep -q '^warning' "$build/output"
    try "nothing is exported" fails grep ' rk_' <(nm -D --defined-only "$library")
    try "its tests" "$cargo" test --no-default-features --target-dir "$build/none" --test commands --test without_tls
}

# Its installation takes many minutes, so only where it is there.
cinstall() {
    if ! command -v cargo-cinstall >/dev/null; then
        echo "left out: cargo cinstall, which is not installed (cargo install cargo-c)"
        return
    fi
    local prefix=$build/cinstall
    try "cargo cinstall" "$cargo" cinstall --release --prefix "$prefix" --libdir "$prefix/lib" \
        --target-dir "$build/cargo-c"
    for name in lib/libredkeep.so.0 lib/libredkeep.a lib/pkgconfig/redkeep.pc include/redkeep.h include/redkeep.hpp; do
        try "it installs $name" test -e "$prefix/$name"
    done
    try "soname" grep -q 'SONAME.*\[libredkeep\.so\.0\]' <(readelf -d "$prefix/lib/libredkeep.so")
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig make -C tests/c/stranger "OUT=$build/by-cargo-c" >"$build/output" 2>&1
    try "what it installed runs" env LD_LIBRARY_PATH="$prefix/lib" "$build/by-cargo-c/c-shared"
}

debian
without_tls
without_c
crate
cinstall
echo "$passed passed, 0 failed"
