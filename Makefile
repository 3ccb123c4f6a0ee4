# Everything that is done with this folder. `make` alone prints the list.

PREFIX ?= /usr/local
DESTDIR ?=
# The pkg-config file needs the whole path, also after `make install PREFIX=here`.
override PREFIX := $(shell realpath -ms -- '$(PREFIX)')
INCLUDEDIR ?= $(PREFIX)/include
LIBDIR ?= $(PREFIX)/lib
CARGO ?= cargo
CC ?= cc
INSTALL ?= install

# Cargo.toml is the only place where the version is written.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
MAJOR := $(word 1,$(subst ., ,$(VERSION)))
MINOR := $(word 2,$(subst ., ,$(VERSION)))

# A folder of its own: what is shipped is built with other settings than what is tested.
SHIP ?= target/ship
CARGOFLAGS ?=
# For another machine than this one, such as x86_64-unknown-linux-musl.
TARGET :=
BUILT := $(SHIP)/$(if $(TARGET),$(TARGET)/)release
SHARED := $(BUILT)/libredkeep.so
ARCHIVE := $(BUILT)/libredkeep.a
# What a program has to name beside the archive.
NATIVE := $(BUILT)/native-static-libs
# What others wrote is built for size: it is in the way of no plain call.
PROFILE := --config 'profile.release.lto="fat"' --config profile.release.codegen-units=1 \
	--config 'profile.release.package."*".opt-level="s"'
# SMALL=1: without TLS, and our own code for size too.
ifdef SMALL
PROFILE += --no-default-features --features capi --config 'profile.release.opt-level="s"'
endif

PROFILE += $(if $(TARGET),--target $(TARGET))
# Where musl is, Rust links all of it into whatever it makes, and makes no shared library, unless it is told otherwise.
MUSL := $(findstring musl,$(or $(TARGET),$(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')))
ifdef MUSL
PROFILE += --config 'build.rustflags=["-C", "target-feature=-crt-static"]'
endif

# What the files in include/ with blanks to fill are told.
FILL = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	-e 's|@INCLUDE_FROM_LIB@|$(shell realpath -m --relative-to='$(LIBDIR)' '$(INCLUDEDIR)')|' \
	-e 's|@VERSION@|$(VERSION)|' -e 's|@MAJOR@|$(MAJOR)|' -e 's|@MINOR@|$(MINOR)|' \
	-e "s|@NATIVE@|$$(tr '\n' ' ' < $(NATIVE))|" -e "s|@NATIVE_LIST@|$$(tr -s ' \n' ';;' < $(NATIVE) | sed 's/;$$//')|"

# Who answers for the Debian packages.
MAINTAINER ?= The redkeep authors <maintainers@redkeep.example>
DEB := target/deb

DEMO := $(CURDIR)/target/demo-prefix
BENCH := $(CURDIR)/target/bench-prefix

.DEFAULT_GOAL := help
# Cargo uses all processors by itself, and the steps of `make test` build on one another.
.NOTPARALLEL:
.PHONY: help setup setup-tests lib install uninstall header docs lint test test-rust test-topologies test-c demo bench bench-cluster bench-streams bench-ways faults soak soak-streams fuzz loom sanitize miri audit test-languages deb test-packages clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

setup: ## install a Redis or Valkey server, if there is none
	@./.ci/setup server

setup-tests: ## install what the tests need, where it is missing
	@./.ci/setup server gcc g++ clang++ valgrind python3 pkg-config openssl tmux cmake libhiredis-dev

# One crate type at a time: with both, cargo drops LTO without a word. Cargo knows what is up to date.
lib: ## build libredkeep.so and libredkeep.a as they are shipped (SMALL=1, TARGET=, CARGOFLAGS=)
	$(CARGO) rustc --release --lib --crate-type cdylib --target-dir $(SHIP) $(PROFILE) $(CARGOFLAGS) \
		-- --cfg c_only
	$(CARGO) rustc --release --lib --crate-type staticlib --target-dir $(SHIP) $(PROFILE) $(CARGOFLAGS) \
		-- --cfg c_only --print native-static-libs='$(CURDIR)/$(NATIVE)'

install: lib ## install libraries, headers, pkg-config and CMake files (PREFIX=, DESTDIR=, SMALL=1, TARGET=)
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(LIBDIR)/cmake/redkeep' '$(DESTDIR)$(INCLUDEDIR)'
	$(INSTALL) -m 755 $(SHARED) '$(DESTDIR)$(LIBDIR)/libredkeep.so.$(VERSION)'
	ln -sf libredkeep.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/libredkeep.so.$(MAJOR)'
	ln -sf libredkeep.so.$(MAJOR) '$(DESTDIR)$(LIBDIR)/libredkeep.so'
	$(INSTALL) -m 644 $(ARCHIVE) '$(DESTDIR)$(LIBDIR)/libredkeep.a'
	$(INSTALL) -m 644 $(wildcard include/*.h include/*.hpp) '$(DESTDIR)$(INCLUDEDIR)/'
	$(FILL) include/redkeep.pc.in > '$(DESTDIR)$(LIBDIR)/pkgconfig/redkeep.pc'
	$(FILL) include/redkeepConfig.cmake.in > '$(DESTDIR)$(LIBDIR)/cmake/redkeep/redkeepConfig.cmake'
	$(FILL) include/redkeepConfigVersion.cmake.in > '$(DESTDIR)$(LIBDIR)/cmake/redkeep/redkeepConfigVersion.cmake'

uninstall: ## remove what `make install` put there (PREFIX=, DESTDIR=)
	rm -f $(foreach name,so.$(VERSION) so.$(MAJOR) so a,'$(DESTDIR)$(LIBDIR)/libredkeep.$(name)')
	rm -f '$(DESTDIR)$(LIBDIR)/pkgconfig/redkeep.pc' '$(DESTDIR)$(LIBDIR)/cmake/redkeep'/redkeepConfig*.cmake
	if [ -d '$(DESTDIR)$(LIBDIR)/cmake/redkeep' ]; then rmdir '$(DESTDIR)$(LIBDIR)/cmake/redkeep'; fi
	rm -f $(patsubst include/%,'$(DESTDIR)$(INCLUDEDIR)/%',$(wildcard include/*.h include/*.hpp))

deb: ## build the Debian packages libredkeep0 and libredkeep-dev, in target/deb (MAINTAINER=)
	@./.ci/setup gcc dh
	rm -rf '$(DEB)'
	$(INSTALL) -d '$(DEB)/source'
	$(MAKE) --no-print-directory install DESTDIR='$(CURDIR)/$(DEB)/stage' PREFIX=/usr \
		LIBDIR=/usr/lib/$$(dpkg-architecture -qDEB_HOST_MULTIARCH)
	cp -R .ci/debian '$(DEB)/source/debian'
	cp -R README.md CHANGELOG.md examples-c '$(DEB)/source/'
	sed -n '5,$$p' LICENSE | sed -e 's/^$$/./' -e 's/^/ /' >> '$(DEB)/source/debian/copyright'
	sed -i -e 's|@VERSION@|$(VERSION)|' -e 's|@MAINTAINER@|$(MAINTAINER)|' -e "s|@DATE@|$$(date -R)|" \
		-e "s|@HOLDER@|$$(sed -n 's/^Copyright (c) //p' LICENSE)|" \
		'$(DEB)/source/debian/control' '$(DEB)/source/debian/changelog' '$(DEB)/source/debian/copyright'
	cd '$(DEB)/source' && dpkg-buildpackage -b -us -uc

header: ## write include/redkeep.h anew from the source
	REDKEEP_WRITE_HEADER=1 $(CARGO) test --test header

docs: ## write the generated parts of the documents anew, and the references: target/doc (Rust), target/doc-c (C)
	@./.ci/setup doxygen
	REDKEEP_WRITE_DOCS=1 $(CARGO) test --lib config
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps
	./.ci/doxygen

lint: ## formatting, clippy and rustdoc, each warning an error
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps

# Where the tests are told of a server (REDKEEP_TEST_SERVER), embedded:// in programs and examples finds the same one.
NAMED_SERVER ?= $(CURDIR)/target/named-server
ifneq ($(REDKEEP_TEST_SERVER),)
NAMED_FAULT := $(shell real=$$(readlink -f "$$(command -v '$(REDKEEP_TEST_SERVER)')") && [ -x "$$real" ] \
	&& { [ '$(NAMED_SERVER)/redis-server' -ef "$$real" ] \
		|| { mkdir -p '$(NAMED_SERVER)' && ln -sfn "$$real" '$(NAMED_SERVER)/redis-server'; }; } || echo none)
$(if $(NAMED_FAULT),$(error REDKEEP_TEST_SERVER: there is no program $(REDKEEP_TEST_SERVER)))
export PATH := $(NAMED_SERVER):$(PATH)
endif

# What the faults are tried on: another combination of topology, TLS and shared lines each time, and the same by the same
# seed.
REDKEEP_TEST_SEED ?= $(shell date +%s)
export REDKEEP_TEST_SEED := $(REDKEEP_TEST_SEED)

# Those that wait for servers to agree, most of their time.
WAITING := cluster sentinel pubsub_moves streams_moves support_works
QUICK_ONES := $(filter-out $(WAITING),$(patsubst tests/%.rs,%,$(wildcard tests/*.rs)))

# While the first Rust tests run, the library is built for those in C, as it is shipped; and while those run, so do the
# tests that wait. What runs beside is shown at the end.
test: setup-tests lint ## everything: lint, Rust tests, C tests
	@mkdir -p target
	@echo "REDKEEP_TEST_SEED=$$REDKEEP_TEST_SEED"
	@trap 'kill $$beside 2>/dev/null' EXIT; \
	nice $(MAKE) --no-print-directory lib >target/beside.log 2>&1 & beside=$$!; \
	$(CARGO) test --lib $(addprefix --test ,$(QUICK_ONES)) && $(CARGO) test --doc \
		&& $(MAKE) --no-print-directory test-topologies || exit 1; \
	wait $$beside || { cat target/beside.log; exit 1; }; \
	$(CARGO) test $(addprefix --test ,$(WAITING)) >target/beside.log 2>&1 & beside=$$!; \
	$(MAKE) --no-print-directory test-c || exit 1; \
	wait $$beside; status=$$?; cat target/beside.log; exit $$status

test-rust: setup ## the unit, integration and documentation tests (REDKEEP_TEST_SEED=)
	@echo "REDKEEP_TEST_SEED=$$REDKEEP_TEST_SEED"
	$(CARGO) test

# On a cluster everything: it is the one that differs most. TLS and a sentinel change how a connection is made, and
# that is the same for every feature; `make soak` runs all of them.
test-topologies: setup-tests ## the features' tests once more: on a cluster, behind a sentinel, over TLS, without lines
	./tests/topologies.sh cluster
	./tests/topologies.sh sentinel tls -- pubsub scripts sessions
	./tests/topologies.sh pool
	REDKEEP_TEST_LINES=0 $(CARGO) test $(addprefix --test ,outages deadlines near)

test-c: setup-tests ## the C tests, plain, under valgrind and with AddressSanitizer
	./tests/c/run.sh

test-languages: ## the programs in Lua and JavaScript, and the types of the Python module
	@./.ci/setup server gcc luajit node npm mypy
	./tests/languages.sh

# Not part of `make test`: it builds the library several times over.
test-packages: setup-tests ## Debian packages, the crate, cargo cinstall, doxygen, and builds without TLS and without C
	@./.ci/setup dh lintian doxygen
	./tests/packages.sh

MINUTES ?= 2
NEAR_MINUTES ?= 10

faults: setup-tests ## every fault on every topology, with and without TLS and shared lines, long freezes and outages
	REDKEEP_FAULTS=all $(CARGO) test --release --test faults -- --nocapture --test-threads=1

soak: faults ## random calls under random faults (MINUTES=, REDKEEP_SOAK_SEED=), the near cache (NEAR_MINUTES=), the long tests
	$(CARGO) test --release --test cluster --test sentinel -- --ignored --nocapture --test-threads=1
	./tests/topologies.sh
	REDKEEP_TEST_LINES=0 $(CARGO) test $(addprefix --test ,cluster sentinel pubsub_moves streams_moves credentials fork stateful)
	REDKEEP_NEAR_MINUTES='$(NEAR_MINUTES)' $(CARGO) test --release --test near_coherence -- --exact nor_for_as_long_as_asked --nocapture
	REDKEEP_LINES_CALLS=1000000 $(CARGO) test --release --test lines -- --exact lines::breaks::with_stalls_and_short_deadlines_no_reply_goes_astray --nocapture
	REDKEEP_SOAK_MINUTES='$(MINUTES)' $(CARGO) test --release --test soak -- --exact soak_for_as_long_as_asked --nocapture
	$(CARGO) test --release --test lock_processes -- --ignored --nocapture
	REDKEEP_LIMITER_SECONDS=30 $(CARGO) test --release --test limiter -- --nocapture four_processes

demo: ## install into target/demo-prefix, and run the tour in C against it
	@./.ci/setup server gcc
	@$(MAKE) --no-print-directory install PREFIX='$(DEMO)' DESTDIR=
	$(CC) -std=c11 -Wall -Wextra -O2 examples-c/tour.c -o '$(DEMO)/tour' \
		-I'$(DEMO)/include' -L'$(DEMO)/lib' -lredkeep -Wl,-rpath,'$(DEMO)/lib'
	'$(DEMO)/tour'

bench: ## redkeep beside hiredis and r2d2, into target/bench.md (QUICK=1: a short run)
	@./.ci/setup server gcc valgrind libhiredis-dev
	@$(MAKE) --no-print-directory install PREFIX='$(BENCH)' DESTDIR=
	./benches/run.sh '$(BENCH)'

bench-cluster: ## GET on a cluster beside the redis crate's client and hiredis (QUICK=1: a short run)
	@./.ci/setup server libhiredis-dev
	$(CARGO) bench --bench cluster

bench-ways: setup ## which way calls go, beside shared lines and pool alone (QUICK=1: a short run)
	$(CARGO) bench --bench ways

bench-streams: ## streams beside hand-written hiredis loops (QUICK=1: a short run)
	@./.ci/setup server gcc libhiredis-dev
	@$(MAKE) --no-print-directory install PREFIX='$(BENCH)' DESTDIR=
	./benches/streams.sh '$(BENCH)'

soak-streams: setup ## streams while consumers and the server are killed, and ten million messages; takes long
	$(CARGO) test --release --test streams_deaths --test streams_long --test streams_moves -- --include-ignored --nocapture --test-threads=1

FUZZ := replies urls topology streams lines calls
# What each is best told: what replies are made of; and long inputs from the beginning where there are few of them in a
# second, for libFuzzer would come to them after hours. Where threads end behind an input, what they hold at that moment
# would be taken for a leak.
WITH_replies := -dict=fuzz/replies.dict
WITH_lines := -len_control=0 -max_len=120 -detect_leaks=0
WITH_calls := -len_control=0 -max_len=600 -detect_leaks=0
NIGHTLY ?= +nightly

fuzz: setup-tests ## each target of fuzz/ and the sequences of C calls, MINUTES= each (by cargo-fuzz, where it is there)
	@if cargo $(NIGHTLY) fuzz --version >/dev/null 2>&1; then \
		$(foreach target,$(FUZZ),cargo $(NIGHTLY) fuzz run $(target) -- -max_total_time=$$(($(MINUTES) * 60)) \
			-print_final_stats=1 $(WITH_$(target)) &&) true || exit 1; \
	else \
		echo 'fuzz: without a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz), inputs are made from seeds'; \
		REDKEEP_FUZZ_SECONDS=$$(($(MINUTES) * 60)) $(CARGO) test --release --lib fuzz -- --nocapture --test-threads=1; \
	fi
	RK_TEST_SEED=$$REDKEEP_TEST_SEED RK_TEST_SECONDS=120 ./tests/c/run.sh sequences nth
	RK_TEST_ALL=1 ./tests/c/run.sh nth

loom: ## the latch and the shared line in every order of their threads
	cd loom && $(CARGO) test --release

# The standard library is built along, so that what happens in it is seen too: without that, ThreadSanitizer knows
# nothing of its locks, and reports what is in order. What a program's panic threw is not freed, since its drop may panic
# too: that is the one known leak.
sanitize: setup ## the unit tests with AddressSanitizer, then with ThreadSanitizer (nightly, rust-src)
	@[ -d "$$(rustc $(NIGHTLY) --print sysroot)/lib/rustlib/src/rust/library" ] || { \
		echo 'sanitize: rustup toolchain install nightly --component rust-src' >&2; exit 1; }
	@mkdir -p target
	@echo 'leak:std::panicking' >target/known-leaks
	for kind in address thread; do \
		LSAN_OPTIONS='suppressions=$(CURDIR)/target/known-leaks' \
		RUSTFLAGS="-Zsanitizer=$$kind" cargo $(NIGHTLY) test -Zbuild-std --lib --target-dir target/$$kind \
			--target "$$(rustc -vV | sed -n 's/^host: //p')" || exit 1; \
	done

# Miri knows no sockets, and takes its time: what uses pointers (src/ffi, as far as it needs no server), what reads
# replies, and where threads meet.
MIRI := ffi:: transport::reply transport::encode transport::value worker:: stream::acks stream::names stats:: \
	pubsub:: fuzz_replies fuzz_streams fuzz_topology

miri: ## the units without sockets under Miri (nightly, miri, rust-src)
	@cargo $(NIGHTLY) miri --version >/dev/null 2>&1 || { \
		echo 'miri: rustup toolchain install nightly --component miri,rust-src' >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation REDKEEP_FUZZ_SECONDS=0 cargo $(NIGHTLY) miri test --lib -- $(MIRI)

# A folder with a copy of RustSec's advisory-db, where it cannot be fetched.
ADVISORIES ?=

audit: ## known faults of what is depended upon (cargo-audit; over the network, or ADVISORIES=folder)
	@cargo audit --version >/dev/null 2>&1 || { echo 'audit: cargo install --locked cargo-audit' >&2; exit 1; }
	for lock in Cargo.lock fuzz/Cargo.lock loom/Cargo.lock; do \
		cargo audit --deny warnings --file $$lock $(if $(ADVISORIES),--db '$(ADVISORIES)' --no-fetch) || exit 1; \
	done

clean: ## remove what was built
	$(CARGO) clean
