# What to do with this repository; `make` alone explains.
.DEFAULT_GOAL := help
.PHONY: help setup build test test-postgres demo docs bench check conformance chaos

# The suite of one npm folder. A machine without its packages skips it and says so; in CI (`CI` is set) that is a failure.
define npm_suite
@if [ -e $(1)/node_modules/.package-lock.json ]; then npm --prefix $(1) test --silent; \
	else echo "skipped: $(1)/node_modules is missing, see scripts/setup"; [ -z "$${CI-}" ]; fi
endef

help: ## this text
	@echo "pregón: the realtime gateway for PostgreSQL"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what tests and the demo need (Debian), or name it
	@scripts/setup

build: ## the binary to install, target/dist/pregon (link-time optimisation: takes minutes)
	cargo build --profile dist -p pregon

test: ## everything that is tested, against real servers and the release binary
	@scripts/setup
	@echo "== the release binary, which the black-box tests start, and the tests"
	cargo test --release --workspace --no-run
	@echo "== the tests of all crates"
	cargo test --release --workspace
	@echo "== the suites of PostgreSQL once more, on its newest version"
	@scripts/test-postgres
	@echo "== the JavaScript clients, against the release binary"
	$(call npm_suite,clients/js)
	@echo "== the examples' pages in Chromium, served by the release binary"
	$(call npm_suite,examples)
	@echo "== the dashboard, in Chromium against the release binary"
	$(call npm_suite,dashboard)
	@echo "== the pages, AsyncAPI, the dashboard and alerts, the files of deploy/"
	$(call npm_suite,docs/site)

demo: ## PostgreSQL in a temporary folder, the examples, traffic and a page that shows it
	@scripts/setup demo
	@echo "== the gateway with its demo: the first build compiles some 400 crates, about three minutes on two cores; later ones take seconds"
	cargo build --profile demo -p pregon
	@target/demo/pregon demo

docs: ## the documentation as a site, target/docs/index.html; every link is followed
	@scripts/setup docs
	@npm --prefix docs/site run build --silent

bench: ## our figures beside the floor's and the peers'
	@bench/run

check: ## format, spelling, lints, sizes, documentation, the fuzz targets compile
	cargo fmt --all --check
	scripts/style
	cargo clippy --workspace --all-targets -- -D warnings
	scripts/sizes
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps
	cargo check --manifest-path fuzz/Cargo.toml --target-dir target/fuzz

test-postgres: ## the suites of PostgreSQL on 14, 16, 17 and 18, from npm
	@scripts/test-postgres all

conformance: ## the official protocol suites against the release binary; what is missing here is named as skipped
	cargo build --release -p pregon
	conformance/suites
	conformance/autobahn/run

chaos: ## kill, cut and fill everything while a million rows are written, then compare; random schemas too (long)
	cargo build --release -p pregon
	cargo run --release -p pregon-chaos -- --report bench/results/chaos.md
	cargo run --release -p pregon-chaos --bin pregon-converge -- --report bench/results/convergence.md
