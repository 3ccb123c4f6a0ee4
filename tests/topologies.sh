#!/usr/bin/env bash
# Runs the tests of features once more, on a cluster, behind a sentinel, over TLS, and by the pool alone, without shared
# lines: those that take `Home::start()`.
#
#     tests/topologies.sh [TOPOLOGY...] [-- SUITE...]
set -euo pipefail
cd "$(dirname "$0")/.."

# A suite is a file, perhaps with a folder of the same name.
files() { ls "tests/$1.rs" "tests/$1"/*.rs 2>/dev/null; }

topologies=() suites=() failed=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do topologies+=("$1"); shift; done
[ $# -eq 0 ] || shift
suites=("$@")
[ ${#topologies[@]} -gt 0 ] || topologies=(cluster sentinel tls pool)
if [ ${#suites[@]} -eq 0 ]; then
    for root in tests/*.rs; do
        suite=$(basename "$root" .rs)
        ! grep -q 'Home::start()' $(files "$suite") || suites+=("$suite")
    done
fi

for topology in "${topologies[@]}"; do
    for suite in "${suites[@]}"; do
        # The names of the tests in which it stands.
        names=$(for file in $(files "$suite"); do
            module=${file#tests/} module=${module%.rs}:: module=${module//\//::}
            awk -v module="${module#$suite::}" -v folder="$suite::" \
                '/^fn /{split($2, name, "("); now = (module ? folder module : "") name[1]}
                 /Home::start\(\)/{print now}' "$file"
        done)
        echo "== $suite: $topology"
        # One at a time where they share what they run on.
        at_once=--test-threads=1
        [ "$topology" != pool ] || at_once=
        REDKEEP_TEST_TOPOLOGY=$topology "${CARGO:-cargo}" test --quiet --test "$suite" -- \
            $at_once --exact $names || failed+=("$suite: $topology")
    done
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED %s\n' "${failed[@]}" >&2
    exit 1
fi
