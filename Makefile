# The short list of commands; CI calls the same ones. `make help` shows it.

SHELL := /bin/bash
TARGET := $(or $(CARGO_TARGET_DIR),target)
INSTALL := deploy/install-tools.sh
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Everything is built with --workspace, so that dependencies have the same features from command to command.
.PHONY: help run test lint prove fmt advisories
.DEFAULT_GOAL := help

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

prove: ## Measures what has a figure, on a release build, alone on the machine; writes target/prove/report.md; PROVE_ONLY=losses,crowd PROVE_LONG=1
	@$(INSTALL) prove
	cargo build --locked --release --workspace
	@exec $(TARGET)/release/testbed prove

fmt: ## Formats the code
	cargo fmt --all

# Not part of `lint`: it needs a database from the network, and turns red by the day, not by a change.
advisories: ## Looks up known vulnerabilities of the dependencies
	@$(INSTALL) advisories
	cargo deny --locked check advisories
