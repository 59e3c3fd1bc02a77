# Bare `make` lists the targets. ARGS goes to the command behind a target: `make demo ARGS=--once`.
# SECONDS is how long each fuzz target runs.

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster test-page image lint docs deny site format fuzz bench prepare

SECONDS ?= 60

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: ## build, start an embedded Kafka, a stand-in for Service Bus and the scaler; show a live table until Ctrl-C
	@scripts/prepare build
	@echo "building keda-sift, its tests' stand-ins and librdkafka: some 10 minutes the first time, seconds after that"
	cargo build --locked --example demo
	cargo run --locked --quiet --example demo -- $(ARGS)

test: ## run every test, including those on a real Apache Kafka, and test-cluster and test-page if they can run; KAFKA=all: on older Kafkas too, and the slow ones
	@scripts/prepare build test
	cargo test --locked --workspace --doc
	cargo test --locked $(or $(ARGS),--workspace --tests)
ifeq ($(KAFKA),all)
	cargo test --locked --test kafka -- --ignored versions:: stopped::
endif
ifndef ARGS
	@if [ -n "$$CI" ] || why=$$(scripts/prepare cluster 2>&1); then \
		$(MAKE) --no-print-directory test-cluster; \
	else \
		echo "make test: what needs a Kubernetes API server is left out;" $$why; \
	fi
	@if [ -n "$$CI" ] || why=$$(scripts/prepare browser 2>&1); then \
		$(MAKE) --no-print-directory test-page; \
	else \
		echo "make test: what needs a browser is left out;" $$why; \
	fi
endif

test-cluster: ## run the tests on a real Kubernetes API server, which is built once
	@scripts/prepare build test cluster
	cargo test --locked --workspace --test api_server --test cluster $(ARGS) -- --include-ignored

test-page: ## run the tests of the page in a real browser; its screenshots are in target/page
	@scripts/prepare build test browser
	cargo test --locked --test page $(ARGS) -- --include-ignored --nocapture

image: ## run the image's build steps without a container, in a folder with what the Dockerfile copies
	@scripts/prepare build
	cargo test --locked --test repository image:: -- --ignored

lint: ## check the format, clippy and the docs; warnings are errors
	@scripts/prepare build lint
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(MAKE) --no-print-directory docs

docs: ## build the docs of the code; warnings are errors
	@scripts/prepare build
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

deny: ## check the licences and the sources of all dependencies
	@scripts/prepare build deny
	cargo deny --locked check licenses bans sources
	cargo deny --locked --manifest-path fuzz/Cargo.toml check bans sources

site: ## build docs/ as a site, into target/site
	@scripts/prepare build site
	mdbook build

format: ## format the code
	@scripts/prepare lint
	cargo fmt --all

# Without a sanitizer: a stable toolchain has none, and there is no unsafe code of ours to watch.
# Findings are kept apart from the corpus, and the next run continues from them.
fuzz: ## feed arbitrary bytes to what reads brokers' replies and records, for SECONDS each, by default a minute
	@scripts/prepare build fuzz
	@for target in $$(cargo fuzz list); do \
		echo "fuzzing $$target for $(SECONDS) s"; \
		mkdir -p fuzz/found/$$target; \
		cargo fuzz run --sanitizer none $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS) -max_len=4096 -len_control=0 -timeout=5 $(ARGS) || exit 1; \
	done

bench: ## run the benchmarks; each prints a ratio to a yardstick measured in the same run
	@scripts/prepare build test
	cargo bench --locked $(ARGS)

prepare: ## install what the targets need, or say what is missing
	@scripts/prepare build test lint
