# The short list of commands; CI calls the same ones. `make help` shows it.

SHELL := /bin/bash
TARGET := $(or $(CARGO_TARGET_DIR),target)
INSTALL := deploy/install-tools.sh
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Everything is built with --workspace, so that dependencies have the same features from command to command.
.PHONY: help run test lint fuzz prove bench bench-quick fmt advisories
.DEFAULT_GOAL := help

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Starts everything here and prints where it is; UPSTREAM=https://… EDGE_PORT=8000 CONTROL_PORT=8001
	@$(INSTALL) run
	@test -x $(TARGET)/debug/testbed || echo "Building; the first time takes about five minutes."
	@cargo build --locked --workspace
	@exec $(TARGET)/debug/testbed stack

test: ## Runs every test, on servers that the tests start themselves
	@$(INSTALL) test
	cargo build --locked --workspace --all-targets
	$(TARGET)/debug/testbed with-postgres -- cargo nextest run --locked --workspace

lint: ## Checks formatting, lints, dependencies and the boundaries between modules
	@$(INSTALL) lint
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --locked check bans licenses sources
	cargo test --locked --workspace --test boundaries

# A folder of its own, since every dependency is built anew, instrumented. That a target is named keeps build scripts as they are.
FUZZ_SECONDS ?= 60
# What the inputs are drawn from; 0 draws anew each time.
FUZZ_SEED ?= 1
FUZZ = $(TARGET)/fuzz
FUZZ_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
INSTRUMENTED := --cfg fuzzing -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table)

fuzz: ## Looks for inputs that break the rewriting of bodies, headers and cookies; FUZZ_SECONDS=60 FUZZ_SEED=1
	@$(INSTALL) fuzz
	RUSTFLAGS="$(INSTRUMENTED)" cargo build --locked --profile fuzz --package fuzz-rewrite --target $(FUZZ_TARGET) --target-dir $(FUZZ)
	@mkdir -p $(FUZZ)/corpus $(FUZZ)/findings
	$(FUZZ)/$(FUZZ_TARGET)/fuzz/fuzz-rewrite -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=512 \
		-artifact_prefix=$(FUZZ)/findings/ -print_final_stats=1 $(FUZZ)/corpus edge-proxy/fuzz/seeds

prove: ## Measures what has a figure, on a release build, alone on the machine; writes target/prove/report.md; PROVE_ONLY=losses,crowd PROVE_LONG=1
	@$(INSTALL) prove
	cargo build --locked --release --workspace
	@exec $(TARGET)/release/testbed prove

bench: ## Measures how fast everything is, beside nginx, HAProxy and a bare Pingora, alone on the machine; writes target/bench/; BENCH_ONLY=rewriting
	@$(INSTALL) bench
	cargo build --locked --release --workspace --bins --examples
	@exec $(TARGET)/release/testbed bench

bench-quick: ## Sees in three minutes whether a goal of `make bench` is lost
	@$(INSTALL) bench
	cargo build --locked --release --workspace --bins --examples
	@exec $(TARGET)/release/testbed bench --quick

fmt: ## Formats the code
	cargo fmt --all

# Not part of `lint`: it needs a database from the network, and turns red by the day, not by a change.
advisories: ## Looks up known vulnerabilities of the dependencies
	@$(INSTALL) advisories
	cargo deny --locked check advisories
