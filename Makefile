# The door to the project. `make demo` and `make test` set up everything they need on a fresh Debian or Ubuntu.
# All of them build one profile (dev: optimised, assertions on), so that no one waits for a second build.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-build demo test check check-instructions check-deploy check-dashboard check-api docs simulate simulate-bugs bench

# A toolchain that setup has just installed is not yet on the caller's PATH.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

help: ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup: ## System packages and toolchain, for building and for all tests
	@scripts/setup.sh test

setup-build:
	@scripts/setup.sh build

demo: setup-build ## The whole pipeline in one terminal: no Kafka, no configuration
	@cargo build --bin throughline
	@cargo run --quiet --bin throughline -- demo

test: setup ## Format, lints and all tests, those on a real broker included; CI runs this, then check-instructions and check-deploy
	cargo fmt --check
	cargo clippy --features faults --all-targets -- -D warnings
	cargo test --features faults --no-fail-fast --lib --bins --tests

check: setup-build ## Before a commit: format, lints, tidy, fast tests, docs
	cargo fmt --check
	cargo clippy --features faults --all-targets -- -D warnings
	cargo test --features faults --lib --bins --test tidy
	RUSTDOCFLAGS="-D warnings" cargo doc --features faults --no-deps

check-instructions: setup-build ## Instruction counts of the hottest paths against benches/instructions/limits, by valgrind
	@scripts/check-instructions.sh

check-deploy: setup-build ## Compose file, Helm chart, alert rules, as CI does: no cluster, no daemon
	@cargo build --bin throughline
	@THROUGHLINE_BIN="$${CARGO_TARGET_DIR:-target}/debug/throughline" scripts/check-deploy.sh

check-dashboard: setup ## Each query of dashboard and alerts against a real Prometheus and the service under load
	@cargo build --bin throughline
	@THROUGHLINE_BIN="$${CARGO_TARGET_DIR:-target}/debug/throughline" scripts/check-dashboard.py

check-api: setup ## The admin endpoint against its OpenAPI document, by a fuzzer
	@cargo build --bin throughline
	@THROUGHLINE_BIN="$${CARGO_TARGET_DIR:-target}/debug/throughline" scripts/check-api.py

docs: setup-build ## Writes the generated pages anew
	@THROUGHLINE_BLESS=1 cargo test --quiet --test cli the_page_about_configuration
	@THROUGHLINE_BLESS=1 cargo test --quiet --lib the_documentation_is_that_of_the_table

simulate: setup-build ## The pipeline under a seeded scheduler: SEEDS=10000, or one of them: SEED=7
	@SIMULATE_SEEDS=$(SEEDS) SIMULATE_SEED=$(SEED) \
		cargo test --quiet --features faults --test simulate every_seed -- --nocapture

simulate-bugs: setup-build ## Which seed of the simulation finds each planted bug
	@cargo test --quiet --features faults --test simulate each_planted -- --nocapture

bench: setup-build ## Criterion benches
	cargo bench
