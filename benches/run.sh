#!/usr/bin/env bash
# redkeep beside its peers: `make bench`, for which library and header are installed under $1. QUICK=1: a short run.
#
# Nothing here fails because something is slow. Compare only within one run, on a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=$1
export QUICK=${QUICK:-}
if [ -n "$QUICK" ]; then rounds=5 ops=10000; else rounds=9 ops=200000; fi
# Under valgrind everything takes 50 times as long; what starting and ending cost is the same for both counts.
few=1000 many=6000

report=$PWD/target/bench.md
program=$PWD/target/bench-hiredis
bulk_program=$PWD/target/bench-bulk
# The last processor that this shell may use, for client and server together: so neither waits for the other's to wake
# up, and figures vary by few percent.
cpu=${CPU:-$(taskset -cp $$ | sed 's/.*[ ,-]//')}

start_server() {
    local server_program port
    PATH="$PATH:/usr/sbin:/usr/local/bin"
    server_program=${REDKEEP_TEST_SERVER:-$(command -v redis-server || command -v valkey-server)}
    folder=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-bench.XXXXXX")
    socket=$folder/redis.sock
    # No port can be reserved for another program, so one is tried after the other.
    for _ in $(seq 50); do
        port=$((20000 + RANDOM % 12000))
        tcp=127.0.0.1:$port
        taskset -c "$cpu" "$server_program" --save "" --appendonly no --daemonize no --bind 127.0.0.1 --port "$port" \
            --unixsocket "$socket" --dir "$folder" >"$folder/log" 2>&1 &
        server=$!
        while kill -0 "$server" 2>/dev/null; do
            if grep -qi "ready to accept connections" "$folder/log" && [ -S "$socket" ]; then return; fi
            sleep 0.02
        done
        wait "$server" || true
    done
    cat "$folder/log" >&2
    echo "no server would start" >&2
    exit 1
}

stop_server() {
    if [ -n "${server:-}" ]; then
        kill -9 "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
    if [ -n "${folder:-}" ]; then rm -rf "$folder"; fi
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

client() { taskset -c "$cpu" "$program" "$@"; }

# $1: a name; reads name=value pairs, writes the values of this name.
values() { tr ' ' '\n' | sed -n "s/^$1=//p"; }

# Reads numbers; writes the median, the smallest and the greatest.
spread() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)], v[1], v[NR] }'; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

say() { echo "$@" | tee -a "$report"; }

# $1: what it is called; $2: the server's address; $3: how many threads, if not one on one processor; $4: the peer.
in_turns() {
    local what=$1 address=$2 threads=${3:-} theirs=${4:-hiredis} peer round name row median least most
    local names=${threads:+cpu wall p50 p99}
    local -A medians
    for peer in "$theirs" redkeep; do : >"$folder/$peer"; done
    for round in $(seq "$rounds"); do
        # Whoever goes second finds another machine; so they change places.
        if ((round % 2)); then set -- "$theirs" redkeep; else set -- redkeep "$theirs"; fi
        for peer; do client "$peer" "$address" "$ops" $threads >>"$folder/$peer"; done
    done
    for name in ${names:-cpu user system wall}; do
        row="| $what | $name |"
        for peer in "$theirs" redkeep; do
            read -r median least most < <(values "$name" <"$folder/$peer" | spread)
            medians[$peer]=$median
            row+=" $median ($least - $most) |"
        done
        say "$row $(ratio "${medians[redkeep]}" "${medians[$theirs]}") |"
    done
}

# $1: what it is called; the others: as benches/bulk.c takes them.
bulk() {
    local what=$1 peer round name row median least most
    local -A medians
    shift
    for peer in hiredis redkeep; do : >"$folder/$peer"; done
    local peers
    for round in $(seq "$rounds"); do
        if ((round % 2)); then peers="hiredis redkeep"; else peers="redkeep hiredis"; fi
        for peer in $peers; do
            taskset -c "$cpu" "$bulk_program" "$peer" "$tcp" "$@" >>"$folder/$peer"
        done
    done
    for name in cpu wall peak; do
        row="| $what | $name |"
        for peer in hiredis redkeep; do
            read -r median least most < <(values "$name" <"$folder/$peer" | spread)
            medians[$peer]=$median
            row+=" $median ($least - $most) |"
        done
        # The memory of a small pipeline is no figure.
        if [ "$name" != peak ]; then
            say "$row $(ratio "${medians[redkeep]}" "${medians[hiredis]}") |"
        elif [ "${medians[hiredis]}" -gt 16384 ]; then
            say "$row $(ratio "${medians[redkeep]}" "${medians[hiredis]}") |"
        fi
    done
}

# $1: the peer, $2: how many operations. Instructions of the program itself, not the kernel's. Under valgrind the clock
# is a system call, so what it costs in user space otherwise (redkeep reads it with each call, hiredis never) is missing.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$socket" "$2" 2>&1 >/dev/null |
        sed -n 's/.*Collected : //p'
}

per_get() { awk -v a="$(instructions "$1" "$few")" -v b="$(instructions "$1" "$many")" -v n=$((many - few)) \
    'BEGIN { printf "%.0f", (b - a) / n }'; }

allocations() {
    valgrind "$program" "$1" "$socket" "$2" 2>&1 >/dev/null | sed -n 's/.*total heap usage: \([0-9,]*\) allocs.*/\1/p'
}

"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -pthread benches/hiredis.c -o "$program" \
    "-I$prefix/include" "-L$prefix/lib" -lredkeep -lhiredis "-Wl,-rpath,$prefix/lib"
"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -pthread benches/bulk.c -o "$bulk_program" \
    "-I$prefix/include" "-L$prefix/lib" -lredkeep -lhiredis "-Wl,-rpath,$prefix/lib"
# Before anything is measured.
cargo bench --no-run
SECONDS=0

: >"$report"
start_server
say "# redkeep beside its peers"
say
say "redkeep $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1), $(nproc) processors${QUICK:+, a short run}."
say
say "## C: GET of 64 bytes, one thread, client and server on one processor"
say
say "Microseconds for each operation: median (least - most) of $rounds interleaved rounds of $ops. CPU is the client's;" \
    "how much of it was user and how much system, the kernel only estimates."
say
say "| over | time | hiredis | redkeep | redkeep / hiredis |"
say "|---|---|---:|---:|---:|"
in_turns "unix socket" "$socket"
in_turns TCP "$tcp"
# redkeep waits for no reply without end; nor does this.
in_turns "TCP, hiredis with a timeout" "$tcp" "" timed
say
say "| each GET | hiredis | redkeep | redkeep / hiredis |"
say "|---|---:|---:|---:|"
theirs=$(per_get hiredis) ours=$(per_get redkeep)
say "| instructions of the client (callgrind) | $theirs | $ours | $(ratio "$ours" "$theirs") |"
say
counted=$(client redkeep "$socket" "$many" stats)
say "The server counted $(values gets <<<"$counted") GETs and $(values others <<<"$counted") other commands" \
    "for $many calls of rk_get_into."
say "Allocations by a program with $few calls of rk_get_into: $(allocations redkeep "$few");" \
    "with $many: $(allocations redkeep "$many")."
say "The same with hiredis: $(allocations hiredis "$few") and $(allocations hiredis "$many")."

say
say "## Near cache: 64 bytes, one thread, client and server on one processor"
say
near=$PWD/target/bench-near
"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra benches/near.c -o "$near" \
    "-I$prefix/include" "-L$prefix/lib" -lredkeep "-Wl,-rpath,$prefix/lib"
taskset -c "$cpu" "$near" "unix://$socket" | tee -a "$report"
say
taskset -c "$cpu" cargo bench --quiet --bench near | tee -a "$report"

say
say "## C: pipelines and huge replies, one thread, client and server on one processor"
say
say "Over TCP. Microseconds for each pipeline or reply; \`peak\` is by how many KiB the program's memory grew at most."
say
say "| what | | hiredis | redkeep | redkeep / hiredis |"
say "|---|---|---:|---:|---:|"
if [ -n "$QUICK" ]; then part=10; else part=1; fi
bulk "10,000 GETs of 64 bytes" gets $((100 / part)) 64 10000
bulk "10,000 SETs of 64 bytes" sets $((100 / part)) 64 10000
bulk "100 GETs of 64 bytes" gets $((5000 / part)) 64 100
bulk "100 GETs of 4 KiB" gets $((2000 / part)) 4096 100
bulk "GET of 64 MiB" huge 1 67108864
bulk "LRANGE of 1,000,000" list 1 16 1000000
stop_server

# Server and client on all processors, as they come.
say
say "## C: GET of 64 bytes over TCP, many threads"
say
say "hiredis with a connection for each thread, redkeep with one manager as it comes. Microseconds: \`wall\` is the whole" \
    "time divided by the number of GETs (its ratio upside down is that of the throughputs), \`p50\` and \`p99\` are what" \
    "a caller waits. Medians (least - most) of $rounds interleaved rounds of $ops."
say
say "| threads | time | hiredis | redkeep | redkeep / hiredis |"
say "|---:|---|---:|---:|---:|"
all=0-$(($(nproc) - 1))
cpu=$all start_server
for threads in 1 4 16 64; do
    cpu=$all in_turns "$threads" "$tcp" "$threads"
done

say
say "## C: GET and SET of all sizes, 64 threads"
say
say "64 bytes to 16 KiB, as many GETs as SETs, on all processors. Microseconds for each command."
say
say "| what | | hiredis | redkeep | redkeep / hiredis |"
say "|---|---|---:|---:|---:|"
cpu=$all bulk "GET and SET, 64 threads" mix $((200000 / part)) 64 64
stop_server

say
say "## Rust: beside the redis crate under r2d2"
for transport in tcp unix; do
    say
    cargo bench --quiet --bench peers -- "$transport" | tee -a "$report"
done
say
say "## Opening a manager"
say
say '```'
cargo bench --quiet --bench open | tee -a "$report"
say '```'
./benches/chart.sh "$report" >"${report%.md}.svg"
echo "written to $report and ${report%.md}.svg, $SECONDS seconds after it began"
