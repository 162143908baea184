# Everything a developer does with this repository. Each target says what it does in a few lines; what takes more than
# one command lives in tools/ and boards/, where each program has a --help.

ARCH ?= arm64 riscv64
BENCH_BOARD = $(or $(BOARD),arm64)
SWIFT_SOURCES = Package.swift Sources Tests guests

# Each product and architecture is a job. A compiler often waits for one module, and so uses one processor: one job more than these.
# (On a machine of two it has gained nothing.)
MAKEFLAGS += --jobs=$(shell expr $$(nproc) + 1)

.PHONY: help setup static exercise guests boards run test fuzzers fuzz sanitize robustness bench format lint docs clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: ARCH=arm64 or riscv64 (default both), BOARD=one of boards/list, FILTER=tests to run,"
	@echo "SANITIZER=address to run them under"

setup: ## install what is missing on this machine, through apt
	@tools/setup

static: $(ARCH:%=static-%) ## cross-compile swiftlet: build/ARCH/swiftlet, one static executable
static-%: setup
	@tools/cross-build $*

exercise: $(ARCH:%=exercise-%) ## cross-compile the program with which tests on boards embed the monitor: build/ARCH/exercise
exercise-%: static-%
	@tools/cross-build $* exercise

guests: $(ARCH:%=guests-%) ## compile the applets: build/ARCH/guests/NAME.elf
guests-%: setup
	@guests/build $* build/$*/guests

boards: setup ## get and make what the emulated boards consist of
	@boards/prepare

run: ## run the hello applet, on this machine if it has KVM, else on an emulated board
	@tools/run-example $(BOARD)

fuzzers: setup ## compile the fuzzers as make test runs them
	@tools/fuzz --unoptimized --build

test: $(if $(FILTER),,fuzzers) static exercise guests boards ## run all tests, those on the emulated boards too, and each fuzzer for a moment
	@$(if $(FILTER),,tools/fuzz --unoptimized all 2)
	@$(if $(SANITIZER),tools/sanitize $(SANITIZER) --filter '$(or $(FILTER),.)',swift test $(if $(FILTER),--filter '$(FILTER)'))

fuzz: setup ## fuzz TARGET (default all) for SECONDS (default 10) each, with libFuzzer
	@tools/fuzz $(or $(TARGET),all) $(or $(SECONDS),10)

sanitize: setup ## run the unit tests under the address and the thread sanitizer
	@tools/sanitize $(SANITIZER)

robustness: setup static guests boards ## try all that docs/robustness.md tells of, and write its tables
	@tools/robustness $(or $(SECONDS),60)

bench: setup static guests boards ## measure on an emulated board, in instructions
	@tools/bench $(BENCH_BOARD)

format: ## format the Swift sources in place
	@swift format --in-place --parallel --recursive $(wildcard $(SWIFT_SOURCES))

lint: ## check the Swift sources' format
	@swift format lint --strict --parallel --recursive $(wildcard $(SWIFT_SOURCES))

docs: setup ## write the API's documentation: build/docs
	@tools/docs

clean: ## remove all that was built; the cache of downloads stays
	@rm -rf .build build
