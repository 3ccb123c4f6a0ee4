#!/usr/bin/env bash
# The programs in other languages: what `make test` does not need to have installed. Ends at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=$PWD/target/c-prefix
modules=$PWD/target/languages
make --no-print-directory install PREFIX="$prefix" DESTDIR=
export REDKEEP_LIBRARY=$prefix/lib/libredkeep.so.0

# $1: what it is; $2: what it must print; the others: the command.
prints() {
    local what=$1 wanted=$2 printed
    shift 2
    printed=$(timeout 60 "$@")
    if [ "$printed" != "$wanted" ]; then
        diff <(echo "$wanted") <(echo "$printed") >&2 || true
        echo "FAILED $what" >&2
        exit 1
    fi
    echo "ok $what"
}

# $1: what it is; the others: a command that must end with this library's refusal.
refuses() {
    local what=$1 printed
    shift
    if printed=$(timeout 60 "$@" 2>&1) || ! grep -q 'RK_ERR_URL: .*http' <<<"$printed"; then
        echo "FAILED $what: $printed" >&2
        exit 1
    fi
    echo "ok $what"
}

tour() { printf 'hello, %s\n%s\n%s\n%s\nheld, with the fence 1\norder.created %s' "$@"; }

# $1: what it is; the others: a command that must refuse a library of another version.
other_version() {
    local what=$1 printed
    shift
    mkdir -p "$modules"
    echo 'unsigned rk_version_number(void) { return 200; } const char *rk_version_string(void) { return "0.2.0"; }' |
        "${CC:-gcc}" -shared -fPIC -x c -o "$modules/other.so" -
    if printed=$(REDKEEP_LIBRARY=$modules/other.so timeout 60 "$@" 2>&1) ||
        ! grep -q 'for redkeep 0.1, and the library is 0.2.0' <<<"$printed"; then
        echo "FAILED $what: $printed" >&2
        exit 1
    fi
    echo "ok $what"
}

prints "Lua" "$(tour Lua nil $'false\tnot a number, says the server' '{"name": "Ann"}' '{"id": 1}')" \
    luajit examples-c/tour.lua
refuses "Lua (a bad url)" luajit examples-c/tour.lua http://localhost
other_version "Lua (another version)" luajit examples-c/tour.lua

if [ -d "$modules/node_modules/koffi" ] ||
    npm install --silent --no-audit --no-fund --no-save --prefix "$modules" koffi@2; then
    export NODE_PATH=$modules/node_modules
    prints "Node.js" "$(tour Node null 'not a number, says the server' Ann 1)" node examples-c/tour.js
    refuses "Node.js (a bad url)" node examples-c/tour.js http://localhost
    other_version "Node.js (another version)" node examples-c/tour.js
elif [ -n "${REDKEEP_WITHOUT_NODE:-}" ]; then
    echo "left out: Node.js (koffi could not be had from npm's registry, and REDKEEP_WITHOUT_NODE is set)"
else
    echo "FAILED Node.js: koffi could not be had from npm's registry (REDKEEP_WITHOUT_NODE=1 leaves Node.js out)" >&2
    exit 1
fi

mypy --strict --cache-dir "$modules/mypy" examples-c/python/redkeep.py
echo "ok redkeep.py (mypy --strict)"
