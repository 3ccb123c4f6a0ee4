#!/usr/bin/env bash
# What users and distributions install: what `make install` puts where, the Debian packages, the crate, what `cargo
# cinstall` makes, and the library without TLS, without C, and for musl. Ends at the first failure.
# With names (installed, debian, features, reference, without_tls, without_c, musl, crate, cinstall), only those.
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

# Into a folder whose name has a space, behind a DESTDIR that has one too.
installed() {
    local root="$build/a root" prefix="$build/a place" version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    try "make install" make --no-print-directory install "PREFIX=$prefix" "DESTDIR=$root"
    try "its files are made for where they will be" fails grep -rqF "$root" "$root$prefix/lib/pkgconfig" \
        "$root$prefix/lib/cmake"
    mv "$root$prefix" "$prefix"
    try "strangers find it" tests/c/strangers.sh "$prefix" "$build/strangers"
    # There is one number.
    try "pkg-config's version" test "$version" = \
        "$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --modversion redkeep)"
    try "CMake's version" grep -qx "set(PACKAGE_VERSION \"$version\")" \
        "$prefix/lib/cmake/redkeep/redkeepConfigVersion.cmake"
    try "the header's version" grep -qx "#define RK_VERSION_STRING \"$version\"" "$prefix/include/redkeep.h"
    try "the Python module's version" grep -qx "__version__ = \"$version\"" examples-c/python/redkeep.py
    try "the version in CHANGELOG.md" grep -q "^## ${version//./\\.}\( \|$\)" <(grep -m 1 '^## ' CHANGELOG.md)
    try "soname" grep -qF "[libredkeep.so.${version%%.*}]" <(readelf -d "$prefix/lib/libredkeep.so.$version")

    # Only what is its own goes.
    touch "$prefix/lib/libredkeep.so.99" "$prefix/lib/pkgconfig/other.pc"
    try "make uninstall" make --no-print-directory uninstall "PREFIX=$prefix" DESTDIR=
    try "it leaves nothing behind, and what others put there" test "$(printf '%s\n' "$prefix/lib/libredkeep.so.99" \
        "$prefix/lib/pkgconfig/other.pc")" = "$(find "$prefix" ! -type d | sort)"
    try "make uninstall, of what is not there" make --no-print-directory uninstall "PREFIX=$prefix" DESTDIR=
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

# Each feature alone, all of them and none.
features() {
    local features
    for features in --no-default-features "--no-default-features --features capi" "--no-default-features --features tls"; do
        # shellcheck disable=SC2086 # the options are several words
        try "clippy $features" "$cargo" clippy --all-targets --target-dir "$build/features" $features -- -D warnings
    done
}

# Warnings about what is in the crate; those of cargo's own configuration are none of ours.
crate() {
    try "cargo package" "$cargo" package --allow-dirty --target-dir "$build/target"
    try "cargo package warns of nothing" fails grep -q '^warning' "$build/output"
}

# The C reference: what the header says, without a warning.
reference() {
    try "doxygen" ./.ci/doxygen
}

without_tls() {
    try "the library without TLS" make --no-print-directory lib SMALL=1 SHIP=target/plain
    # What was agreed on; 1,998,216 is what it came to when this was written.
    try "stripped, it has at most 2,000,000 bytes" at_most 2000000 target/plain/release/libredkeep.so
    try "its tests" "$cargo" test --no-default-features --features capi --test without_tls
}

without_c() {
    local library=$build/none/debug/libredkeep.so
    try "the crate without C" "$cargo" build --no-default-features --target-dir "$build/none"
    try "it warns of nothing" fails grep -q '^warning' "$build/output"
    try "nothing is exported" fails grep ' rk_' <(nm -D --defined-only "$library")
    try "its tests" "$cargo" test --no-default-features --target-dir "$build/none" --test commands --test without_tls
}

# No call of ours that only glibc has: what the library calls is looked up in musl. Left aside are the compiler's own
# symbols, and those that Rust's standard library asks for on glibc alone or does without.
musl() {
    local libc
    libc=/lib/ld-musl-$(uname -m).so.1
    if [ ! -e "$libc" ]; then
        echo "left out: musl, which is not installed (package musl)"
        return
    fi
    nm -D --undefined-only target/plain/release/libredkeep.so | awk '{ sub(/(64)?(@.*)?$/, "", $NF); print $NF }' |
        grep -vE '^(_Unwind_.*|_ITM_.*|__gmon_start__|__cxa_(finalize|thread_atexit_impl)|__register_atfork)$' |
        grep -vE '^(__res_init|gnu_get_libc_version|pidfd_.*|posix_spawn_file_actions_addchdir(_np)?|statx)$' |
        sort -u >"$build/called"
    nm -D --defined-only "$libc" | awk '{ print $NF }' | sort -u >"$build/musl"
    try "it calls what musl has, such as poll" grep -qx poll "$build/called"
    try "and nothing else" diff /dev/null <(comm -23 "$build/called" "$build/musl")
    with_musl
}

# A program in which there is nothing but musl's: it needs no library where it runs.
with_musl() {
    local target own archive
    target=$(uname -m)-unknown-linux-musl
    own=$(rustc --print sysroot)/lib/rustlib/$target/lib/self-contained
    archive=$build/with-musl/$target/debug/libredkeep.a
    if ! command -v musl-gcc >/dev/null || [ ! -d "$own" ]; then
        echo "left out: a program with musl (package musl-tools, rustup target add $target)"
        return
    fi
    try "the archive for musl" env "CC_${target//-/_}=musl-gcc" "$cargo" rustc --lib --crate-type staticlib \
        --target "$target" --target-dir "$build/with-musl"
    try "it warns of nothing" fails grep -q '^warning' "$build/output"
    try "a program with it" musl-gcc -static -Iinclude tests/c/stranger/main.c "$archive" "-L$own" -lunwind \
        -o "$build/program-with-musl"
    try "it needs no library" fails grep -q NEEDED <(readelf -d "$build/program-with-musl")
    try "it runs" grep -q '^hello from redkeep ' <("$build/program-with-musl")
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
    try "a stranger links it" env PKG_CONFIG_PATH="$prefix/lib/pkgconfig" make -C tests/c/stranger "OUT=$build/by-cargo-c"
    for name in c-shared c-static cpp-shared; do
        try "$name runs" grep -q '^hello from redkeep ' <(LD_LIBRARY_PATH=$prefix/lib "$build/by-cargo-c/$name")
    done
    try "c-static needs no library of ours" fails grep -q libredkeep <(readelf -d "$build/by-cargo-c/c-static")
}

[ $# -gt 0 ] || set -- installed debian features reference without_tls without_c musl crate cinstall
for part in "$@"; do "$part"; done
echo "$passed passed, 0 failed"
