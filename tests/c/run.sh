#!/usr/bin/env bash
# The C tests: they use the installed library as a stranger would. Ends at the first failure.
# With names (sequences, nth), only those tests, tests/c/test_NAME.c.
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=$PWD/target/c-prefix
build=$PWD/target/c-tests
# What is tried is the same each time, so that a failure is news; another seed is RK_TEST_SEED's to give.
export REDKEEP_TEST_SEED=${RK_TEST_SEED:-1}
passed=0
strict=(-Wall -Wextra -Wpedantic -Werror)
cc=${CC:-gcc}
cxx=${CXX:-g++}

ok() {
    passed=$((passed + 1))
    echo "ok $1"
}

# $1: what it is; the others: the command, whose output is shown only when it fails.
try() {
    local what=$1
    shift
    if ! "$@" >"$build/output" 2>&1; then
        cat "$build/output" >&2
        echo "FAILED $what: $*" >&2
        echo "$passed passed, 1 failed"
        exit 1
    fi
    ok "$what"
    grep '^figure: ' "$build/output" || true
}

# An authority of our own, a certificate for localhost, and one for clients, in $folder.
certificates() {
    local name
    printf '[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\nbasicConstraints=critical,CA:TRUE\n' \
        >"$folder/req.cnf"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >"$folder/extensions"
    local new=(-config "$folder/req.cnf" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
    openssl req -x509 "${new[@]}" -keyout "$folder/ca.key" -out "$folder/ca.crt" -days 30 -subj /CN=redkeep-c-ca
    for name in server client; do
        openssl req "${new[@]}" -keyout "$folder/$name.key" -out "$folder/$name.csr" -subj "/CN=$name"
        openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
            -extfile "$folder/extensions" -out "$folder/$name.crt" -days 30
    done
    # The server's, as it was years ago. `openssl x509` takes no dates in older versions; `openssl ca` does in all.
    : >"$folder/index"
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\nnew_certs_dir=%s\nrand_serial=yes\n%s' "$folder" "$folder" \
        $'default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' >"$folder/ca.cnf"
    openssl ca -batch -config "$folder/ca.cnf" -in "$folder/server.csr" -cert "$folder/ca.crt" \
        -keyfile "$folder/ca.key" -extfile "$folder/extensions" -out "$folder/expired.crt" \
        -startdate 20200101000000Z -enddate 20200102000000Z
}

start_server() {
    local port tls_port attempt
    PATH="$PATH:/usr/sbin:/usr/local/bin"
    program=${REDKEEP_TEST_SERVER:-$(command -v redis-server || command -v valkey-server)}
    folder=$(mktemp -d "${TMPDIR:-/tmp}/redkeep-c.XXXXXX")
    certificates >"$folder/openssl" 2>&1 || { cat "$folder/openssl" >&2; exit 1; }
    # No port can be reserved for another program, so one is tried after the other.
    for attempt in $(seq 50); do
        port=$((20000 + RANDOM % 12000))
        tls_port=$((20000 + RANDOM % 12000))
        "$program" --save "" --appendonly no --daemonize no --protected-mode no --bind 127.0.0.1 --port "$port" \
            --unixsocket "$folder/redis.sock" --dir "$folder" --tls-port "$tls_port" --tls-auth-clients yes \
            --tls-ca-cert-file "$folder/ca.crt" --tls-cert-file "$folder/server.crt" \
            --tls-key-file "$folder/server.key" >"$folder/log" 2>&1 &
        server=$!
        while kill -0 "$server" 2>/dev/null; do
            if grep -qi "ready to accept connections" "$folder/log" && [ -S "$folder/redis.sock" ]; then
                export RK_TEST_URL="unix://$folder/redis.sock" RK_TEST_TCP_URL="redis://127.0.0.1:$port"
                export RK_TEST_TLS_URL="rediss://localhost:$tls_port" RK_TEST_FOLDER=$folder
                return
            fi
            sleep 0.02
        done
        wait "$server" || true
    done
    cat "$folder/log" >&2
    echo "no server would start" >&2
    exit 1
}

# A cluster and sentinels: what the tests are told is where they are.
start_topologies() {
    local name addresses
    coproc TOPOLOGIES { exec python3 tests/c/topologies.py "$program"; }
    topologies=$TOPOLOGIES_PID
    while [ -z "${RK_TEST_SENTINELS:-}" ]; do
        if ! read -r name addresses <&"${TOPOLOGIES[0]}"; then
            echo "no cluster would start" >&2
            exit 1
        fi
        export "RK_TEST_$name=$addresses"
    done
}

finish() {
    if [ -n "${topologies:-}" ]; then
        eval "exec ${TOPOLOGIES[1]}>&-"
        wait "$topologies" 2>/dev/null || true
    fi
    if [ -n "${server:-}" ]; then
        kill -9 "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ -n "${folder:-}" ]; then rm -rf "$folder"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

header_alone() {
    local std
    for std in c99 c11 c2x; do
        try "header ($std)" "$cc" -std=$std "${strict[@]}" -fsyntax-only -x c include/redkeep.h
    done
    try "header (c++17)" "$cxx" -std=c++17 "${strict[@]}" -fsyntax-only -x c++ include/redkeep.h
    for std in c++17 c++2b; do
        try "redkeep.hpp ($std)" "$cxx" -std=$std "${strict[@]}" -Wshadow -Wconversion -fsyntax-only -x c++ \
            include/redkeep.hpp
    done
    try "redkeep.hpp (results)" "$cxx" -std=c++17 "${strict[@]}" -DREDKEEP_RESULTS -fsyntax-only -x c++ \
        include/redkeep.hpp
}

# The functions that the header declares: every `rk_name(` outside comments and types; `rk_name (*` is a callback's.
header_functions() {
    "$cc" -fpreprocessed -dD -E -P -x c include/redkeep.h 2>/dev/null |
        grep -v '^[[:space:]]*#' | tr '\n' ' ' | tr ';' '\n' |
        grep -v typedef | grep -oE '\brk_[a-z0-9_]+ ?\([^*]' | sed 's/ *(.*//' | sort -u
}

exported() {
    nm -D --defined-only "$prefix/lib/libredkeep.so" | awk '{ print $NF }' | sed 's/@.*//' | sort -u
}

symbols() {
    exported >"$build/exported"
    header_functions >"$build/declared"
    try "exports are the header's" diff -u --label header "$build/declared" --label library "$build/exported"
    try "soname" bash -c "readelf -d '$prefix/lib/libredkeep.so' | grep -q 'SONAME.*\[libredkeep\.so\.[0-9]*\]'"
}

run_each() {
    local source name undefined
    local compile=("$cc" -std=c11 -D_GNU_SOURCE -g "${strict[@]}" "-I$prefix/include")
    # A program that does not call the library by name has it only when it loads it itself.
    local shared=("-L$prefix/lib" -Wl,--as-needed -lredkeep -lpthread -ldl "-Wl,-rpath,$prefix/lib")
    export RK_TEST_LIBRARY=$prefix/lib/libredkeep.so
    for source in "$@"; do
        name=$(basename "$source" .c)
        try "$name (compiles)" "${compile[@]}" "$source" -o "$build/$name" "${shared[@]}"
        try "$name (plain)" timeout 300 "$build/$name"
        # Memcheck cannot follow every bit through ciphers in assembler, and takes what they encrypt for uninitialised.
        undefined=yes
        if grep -q RK_TEST_TLS_URL "$source"; then undefined=no; fi
        try "$name (valgrind)" env RK_TEST_LOST=9 RK_TEST_CYCLES=20 timeout 600 valgrind -q --error-exitcode=9 \
            --undef-value-errors=$undefined --leak-check=full --errors-for-leak-kinds=definite --child-silent-after-fork=yes "$build/$name"
        # What its parent's threads held is lost to a child, so of children only other faults count. AddressSanitizer
        # cannot look on: its own locks stay locked in a child, where another thread held one at the fork.
        if grep -q 'fork()' "$source"; then
            try "$name (valgrind, children)" env RK_TEST_CYCLES=20 timeout 600 valgrind -q --error-exitcode=9 \
                "$build/$name"
            continue
        fi
        try "$name (compiles, asan)" "${compile[@]}" -fsanitize=address,undefined -fno-sanitize-recover=all "$source" -o "$build/$name.asan" "${shared[@]}"
        try "$name (asan, ubsan)" env ASAN_OPTIONS=detect_leaks=1:exitcode=9 timeout 300 "$build/$name.asan"
    done
}

# In C++, by the compiler, with its sanitizers, and by the other compiler where it is present. They take their time to
# compile, so as many at once as there are processors.
cpp_commands() {
    local source name flags
    line() { printf '%q ' "$@" "${strict[@]}" "-I$prefix/include" "$source" "${library[@]}" && echo; }
    for source in tests/c/test_cpp*.cpp; do
        name=$(basename "$source" .cpp)
        flags=(-std=c++17)
        if [ "$name" = test_cpp_results ]; then flags+=(-fno-exceptions -fno-rtti); fi
        line "$cxx" "${flags[@]}" -g -o "$build/$name"
        line "$cxx" "${flags[@]}" -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -o "$build/$name.asan"
        if [ -n "$other_cxx" ]; then line "$other_cxx" "${flags[@]}" -o "$build/$name.other"; fi
    done
    for source in examples-c/*.cpp; do
        line "$cxx" -std=c++17 -o "$build/example-$(basename "$source" .cpp)-cpp"
    done
}

run_cpp() {
    local source name other_cxx
    local library=("-L$prefix/lib" -lredkeep -lpthread "-Wl,-rpath,$prefix/lib")
    other_cxx=$(command -v clang++ || true)
    if [ -z "$other_cxx" ]; then echo "left out: clang++"; fi
    cpp_commands >"$build/cpp-commands"
    try "C++ (compiles${other_cxx:+, clang++ too})" xargs -d '\n' -n 1 -P "$(nproc)" bash -c <"$build/cpp-commands"
    for source in tests/c/test_cpp*.cpp; do
        name=$(basename "$source" .cpp)
        try "$name (plain)" timeout 300 "$build/$name"
        try "$name (valgrind)" timeout 600 valgrind -q --error-exitcode=9 --leak-check=full \
            --errors-for-leak-kinds=definite "$build/$name" no-fork
        try "$name (asan, ubsan)" env ASAN_OPTIONS=detect_leaks=1:exitcode=9 timeout 300 "$build/$name.asan" no-fork
        if [ -n "$other_cxx" ]; then try "$name (clang++)" timeout 300 "$build/$name.other"; fi
    done
    for source in examples-c/*.cpp; do
        name=$(basename "$source" .cpp)
        try "example $name in C++ (runs)" timeout 60 "$build/example-$name-cpp"
    done
}

static_archive() {
    local source private
    source=$(printf '%s\n' tests/c/test_*.c | head -n 1)
    private=$(sed -n 's/^Libs.private: //p' "$prefix/lib/pkgconfig/redkeep.pc")
    # shellcheck disable=SC2086 # the private libraries are several words
    try "static archive (links)" "$cc" -std=c11 -D_GNU_SOURCE "${strict[@]}" "-I$prefix/include" "$source" \
        -o "$build/static" "$prefix/lib/libredkeep.a" $private
    try "static archive (runs)" timeout 300 "$build/static"
}

# What users copy; each runs on a server of its own.
examples() {
    local source name
    for source in examples-c/*.c; do
        name=$(basename "$source" .c)
        try "example $name (compiles)" "$cc" -std=c11 -D_GNU_SOURCE "${strict[@]}" "-I$prefix/include" "$source" \
            -o "$build/example-$name" "-L$prefix/lib" -lredkeep -lpthread "-Wl,-rpath,$prefix/lib"
        try "example $name (runs)" timeout 60 "$build/example-$name"
    done
}

# Short programs show what they do, and not always by their exit code: they must print something, and complain of nothing.
shows() {
    local status=0
    timeout 60 "$@" >"$build/shown" 2>"$build/complaints" || status=$?
    cat "$build/shown" "$build/complaints"
    [ "$status" = 0 ] && [ -s "$build/shown" ] && [ ! -s "$build/complaints" ]
}

# Every program of the README and the guides. Those marked `hiredis` and `redis-plus-plus` are what one comes from: they
# talk to our server in place of port 6379. Debian has no package of redis-plus-plus: where it is not at hand, its program
# is left out.
programs() {
    local page source compile libraries
    rm -rf "$build/programs"
    mkdir "$build/programs"
    for page in README.md src/guides/*.md; do
        awk -v to="$build/programs/$(basename "$page" .md)-" '
            /^```(c|cpp)$/ { n++; end = "." substr($0, 4); next }
            /^```python$/ { n++; end = ".py"; next }
            /^```c hiredis$/ { n++; end = ".hiredis.c"; next }
            /^```cpp redis-plus-plus$/ { n++; end = ".redis++.cpp"; next }
            /^```(c|cpp|python) / { print FILENAME ": what is " $0 "?" > "/dev/stderr"; exit 1 }
            /^```/ { end = "" }
            end { print > (to n end) }' "$page"
    done
    for source in "$build"/programs/*; do
        if [[ $source == *.py ]]; then
            try "$(basename "$source") (runs)" shows env LD_LIBRARY_PATH="$prefix/lib" \
                PYTHONPATH=examples-c/python python3 "$source"
            continue
        fi
        libraries=("-I$prefix/include" "-L$prefix/lib" -lredkeep "-Wl,-rpath,$prefix/lib")
        case $source in
        *.hiredis.c) libraries=(-lhiredis) ;;
        *.redis++.cpp)
            if ! pkg-config --exists redis++; then
                echo "left out: $(basename "$source"), since redis-plus-plus is not installed"
                continue
            fi
            # shellcheck disable=SC2207 # the flags are several words
            libraries=($(pkg-config --cflags --libs redis++) -lhiredis -lpthread) ;;
        esac
        sed -i "s/\b6379\b/${RK_TEST_TCP_URL##*:}/" "$source"
        compile=("$cc" -std=c99)
        if [ "${source##*.}" = cpp ]; then compile=("$cxx" -std=c++17); fi
        try "$(basename "$source") (compiles)" "${compile[@]}" "${strict[@]}" "$source" -o "${source%.*}" \
            "${libraries[@]}"
        try "$(basename "$source") (runs)" shows "${source%.*}"
    done
}

by_pkg_config() {
    local source flags
    source=$(printf '%s\n' tests/c/test_*.c | head -n 1)
    flags=$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags --libs redkeep)
    # shellcheck disable=SC2086 # the flags are several words
    try "pkg-config" "$cc" -std=c11 -D_GNU_SOURCE "$source" -o "$build/by-pkg-config" $flags
}

# What was agreed on for the library with TLS; tests/packages.sh looks at the one without.
size() {
    strip -o "$build/stripped" "$prefix/lib/libredkeep.so"
    try "stripped, it has at most 4,000,000 bytes" test "$(stat -c %s "$build/stripped")" -le 4000000
}

rm -rf "$prefix"
mkdir -p "$build"
make --no-print-directory install PREFIX="$prefix" DESTDIR=
if [ $# -gt 0 ]; then
    start_server
    start_topologies
    set -- "${@/#/tests/c/test_}"
    run_each "${@/%/.c}"
    echo "$passed passed, 0 failed"
    exit
fi
header_alone
symbols
size
try "strangers, by CMake and by make" tests/c/strangers.sh "$prefix" "$build/strangers"
if compgen -G "tests/c/test_*.c" >/dev/null; then
    start_server
    start_topologies
    run_each tests/c/test_*.c
    run_cpp
    static_archive
    by_pkg_config
    programs
    examples
    for source in tests/c/test_*.py; do
        try "$(basename "$source" .py) (python)" env LD_LIBRARY_PATH="$prefix/lib" timeout 300 python3 "$source"
    done
fi
echo "$passed passed, 0 failed"
