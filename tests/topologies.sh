#!/usr/bin/env bash
# Runs the tests of features once more, on a cluster, behind a sentinel, over TLS, and by the pool alone, without shared
# lines: those that take `Home::start()`.
#
#     tests/topologies.sh [TOPOLOGY...] [-- SUITE...]
set -euo pipefail
cd "$(dirname "$0")/.."

topologies=() suites=() failed=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do topologies+=("$1"); shift; done
[ $# -eq 0 ] || shift
suites=("$@")
[ ${#topologies[@]} -gt 0 ] || topologies=(cluster sentinel tls pool)
[ ${#suites[@]} -gt 0 ] || suites=($(grep -l 'Home::start()' tests/*.rs | sed 's|tests/||; s|\.rs$||'))

for topology in "${topologies[@]}"; do
    for suite in "${suites[@]}"; do
        # The names of the tests in which it stands.
        names=$(awk '/^fn /{split($2, name, "("); now = name[1]} /Home::start\(\)/{print now}' "tests/$suite.rs")
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
