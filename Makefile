# The commands of daily work. They call the programs in tools/ and boards/, each of which has --help.

ARCH ?= arm64 riscv64
BENCH_BOARD = $(or $(BOARD),arm64)
SWIFT_SOURCES = Package.swift Sources Tests guests examples

# Targets of check-system; Tests/README.md has a row for each.
CHECK_SYSTEM = check-sdk check-packages

# Each product and architecture is a job. A compiler often waits for one module, so there is one job more than CPUs.
MAKEFLAGS += --jobs=$(shell expr $$(nproc) + 1)

.PHONY: help setup static guests boards run install install-program install-sdk man deb dist test check check-system check-sdk check-packages fuzz sanitize robustness bench format lint docs clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: ARCH=arm64 or riscv64 (default both), BOARD=one of boards/list"

setup: ## install missing packages through apt
	@tools/setup

static: $(ARCH:%=static-%) ## cross-compile swiftlet: build/ARCH/swiftlet, one static executable
static-%: setup
	@tools/cross-build $*

guests: $(ARCH:%=guests-%) ## compile the applets: build/ARCH/guests/NAME.elf
guests-%: setup
	@guests/build $* build/$*/guests

boards: setup ## download and build the emulated boards
	@boards/prepare

run: ## run the hello applet, on this machine if it has KVM, otherwise on an emulated board
	@tools/run-example $(BOARD)

# The program runs on arm64 and riscv64; elsewhere applets are written.
install: $(if $(or $(PROGRAM),$(filter aarch64 riscv64,$(shell uname -m))),install-program) install-sdk ## install program and SDK below DESTDIR in PREFIX (default /usr/local)

install-program: ## install the program, without the SDK: build/ARCH/swiftlet, units, completions, man pages, documentation
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PROGRAM='$(PROGRAM)' ZSHDIR='$(ZSHDIR)' tools/install-program $(if $(word 2,$(ARCH)),,$(ARCH))

install-sdk: ## install the SDK for applets: swiftlet-cc, -new, -test, -board, libraries; build/ARCH/swiftlet for its boards
	@sdk/install '$(DESTDIR)$(or $(PREFIX),/usr/local)'

man: ## write the man pages, share/man, from the help of the commands
	@swift build --product swiftlet && tools/man-pages

deb: $(ARCH:%=deb-%) deb-all ## make Debian packages: build/deb/swiftlet_VERSION_ARCH.deb, swiftlet-dev_VERSION_all.deb
deb-all: static-arm64 static-riscv64
deb-arm64: static-arm64
deb-riscv64: static-riscv64
deb-all deb-arm64 deb-riscv64:
	@tools/setup packages && tools/deb --lint $(@:deb-%=%)

dist: static deb ## make the files of a release, with checksums: build/dist
	@tools/dist

test: setup ## run the tests of what is most likely to break, or those that match FILTER (a regular expression)
	@tools/test $(if $(FILTER),'$(FILTER)')

check: setup ## run all tests, also under the sanitizers, each fuzzer briefly, and build the documentation
	@tools/test --check

check-system: $(CHECK_SYSTEM) ## run the tests that need whole distributions or downloaded compilers (Tests/README.md)

check-packages: deb $(ARCH:%=guests-%)
	@Tests/Packages/run $(ARCH)

check-sdk: static ## install the SDK, and do what docs/applets.md shows in C, C++, Swift and Rust, and with picolibc
	@tools/check-sdk

fuzz: setup ## fuzz TARGET (default all) for SECONDS (default 10) each, with libFuzzer
	@tools/fuzz $(or $(TARGET),all) $(or $(SECONDS),10)

sanitize: setup ## run the unit tests under a sanitizer, SANITIZER=address (the default) or thread
	@tools/test --sanitizer $(or $(SANITIZER),address) $(if $(FILTER),'$(FILTER)')

robustness: setup static guests boards ## run everything in docs/robustness.md and write its tables
	@tools/robustness $(or $(SECONDS),60)

bench: setup static guests boards ## count instructions on an emulated board
	@tools/bench $(BENCH_BOARD)

format: ## format the Swift sources in place
	@swift format --in-place --parallel --recursive $(wildcard $(SWIFT_SOURCES))

lint: ## check the Swift sources' format
	@swift format lint --strict --parallel --recursive $(wildcard $(SWIFT_SOURCES))

docs: setup ## write the API documentation: build/docs
	@tools/docs

clean: ## remove everything that was built; the cache of downloads stays
	@rm -rf .build build
