#!/usr/bin/env bash
# Streams beside hiredis: `make bench-streams`, for which library and header are installed under $1. QUICK=1: a short run.
#
# Nothing here fails because something is slow. Compare only within one run, on a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=$1
if [ -n "${QUICK:-}" ]; then rounds=3 count=100000 idle=300; else rounds=5 count=200000 idle=1000; fi
program=$PWD/target/bench-streams

finish() {
    if [ -n "${server:-}" ]; then
        kill -9 "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ -n "${folder:-}" ]; then rm -rf "$folder"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

PATH="$PATH:/usr/sbin:/usr/local/bin"
server_program=${REDKEEP_TEST_SERVER:-$(command -v redis-server || command -v valkey-server)}
folder=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-bench.XXXXXX")
socket=$folder/redis.sock
"$server_program" --save "" --appendonly no --daemonize no --port 0 --unixsocket "$socket" --dir "$folder" \
    >"$folder/log" 2>&1 &
server=$!
until [ -S "$socket" ]; do
    kill -0 "$server"
    sleep 0.02
done

"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra benches/streams.c -o "$program" \
    "-I$prefix/include" "-L$prefix/lib" -lredkeep -lhiredis -lpthread "-Wl,-rpath,$prefix/lib"

# $1: a name; reads name=value pairs, writes the values of this name.
values() { tr ' ' '\n' | sed -n "s/^$1=//p"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# $1: what; $2: what is shown of it; $3: how many; then the peers, the first of which is what the others are compared with.
in_turns() {
    local what=$1 shown=$2 n=$3 round peer name base
    shift 3
    for peer; do : >"$folder/$peer"; done
    for round in $(seq "$rounds"); do
        for peer; do
            "$program" fill "$socket" "$([ "$what" = consume ] && echo "$n" || echo 0)"
            "$program" "$what" "$peer" "$socket" "$n" >>"$folder/$peer"
        done
    done
    for name in $shown; do
        base=$(values "$name" <"$folder/$1" | median)
        echo -n "| $what | $name | $base |"
        for peer in "${@:2}"; do
            median=$(values "$name" <"$folder/$peer" | median)
            echo -n " $peer $median ($(ratio "$median" "$base")) |"
        done
        echo
    done
}

echo "Microseconds, median of $rounds interleaved rounds; in brackets, how many times hiredis."
echo "| what | of | hiredis | redkeep |"
echo "|---|---|---:|---:|"
in_turns consume "wall cpu" "$count" hiredis redkeep started
# Where redis-py is installed.
if python3 -c 'import redis' 2>/dev/null; then
    "$program" fill "$socket" "$((count / 10))"
    theirs=$(python3 benches/streams.py "$socket" "$((count / 10))")
    "$program" fill "$socket" "$count"
    ours=$("$program" consume redkeep "$socket" "$count" | values wall)
    echo "| consume | wall | redis-py $theirs | redkeep $ours ($(ratio "$theirs" "$ours") times as many) |"
fi
in_turns send "wall cpu" "$count" hiredis redkeep
in_turns latency "p50 p99" "$idle" hiredis redkeep started
