# Two commands do everything: `make up` and `make test`. What they lack they get, and say so.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# All packages at once, always: cargo unites the features of what it builds, so that building one package alone would
# build most dependencies again.
ALL := --workspace --locked
TOOL := .ci/tool
# The release build, because waking in milliseconds is what `make up` shows; `make up PROFILE=dev` is built sooner.
PROFILE ?= release
PROGRAM := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/wisp
# For `wisp up`, such as `make up ARGS='--listen 0.0.0.0:8080'`.
ARGS ?=

.PHONY: help
help: ## List what there is.
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name what; do \
		printf 'make %-10s %s\n' "$$name" "$$what"; done

.PHONY: up
up: tools samples ## Build Wisp and the samples, run them, and print their addresses.
	@echo "up: building wisp ($(PROFILE)); from nothing this takes half an hour on two cores, once"
	cargo build $(ALL) --bins --profile $(PROFILE)
	exec $(PROGRAM) up samples $(ARGS)

# What runs where there is no file but itself: no shared library, no relocations that would dirty its pages at the start,
# and random bytes by the system call (a static program finds no other way by name, and would open /dev/urandom).
STATIC := -C target-feature=+crt-static -C relocation-model=static --cfg getrandom_backend="linux_getrandom"
ifeq ($(shell uname),Linux)
TRIPLE := $(shell uname -m)-unknown-linux-gnu
FLAGS_OF := CARGO_TARGET_$(shell echo $(TRIPLE) | tr a-z- A-Z_)
WITHOUT_LIBRARIES := CARGO_BUILD_TARGET=$(TRIPLE) $(FLAGS_OF)_RUSTFLAGS='$(STATIC)' $(FLAGS_OF)_RUSTDOCFLAGS='$(STATIC)' \
	LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=/usr/lib/$(shell uname -m)-linux-gnu
endif
NODE_PROGRAMS := wisp-host containerd-shim-wisp-v1 wisp-installer wisp-operator wisp-autoscaler wisp-activator

.PHONY: static
static: tools ## Build what a node and a cluster get, without shared libraries. Linux only.
	$(WITHOUT_LIBRARIES) cargo build --locked --release --bins \
		$(addprefix -p ,wisp-host wisp-shim wisp-installer wisp-operator wisp-autoscaler wisp-activator)
	@$(MAKE) node-programs FROM=target/$(TRIPLE)/release TO=target/static

# FROM has the programs, TO gets the content of an image.
.PHONY: node-programs
node-programs:
	@mkdir -p $(TO)
	@# An image of nothing but programs has nobody to trust.
	@$(TOOL) apt update-ca-certificates ca-certificates
	@cp /etc/ssl/certs/ca-certificates.crt $(TO)/
	@for program in $(NODE_PROGRAMS); do strip --strip-debug -o $(TO)/$$program $(FROM)/$$program; echo $(TO)/$$program; done

.PHONY: test
test: tools ## Run every test that this machine can run, and say which are left out.
	@$(WITHOUT_LIBRARIES) .ci/test $(if $(CHECK),--check)

.PHONY: check
check: tools ## Format, lints, documentation, dependencies, and the tree's own rules.
	cargo fmt --all --check
	cargo clippy $(ALL) --all-targets -- -Dwarnings
	RUSTDOCFLAGS=-Dwarnings cargo doc $(ALL) --no-deps --quiet
	PATH="$$($(TOOL) cargo cargo-deny 0.20.2):$$PATH" cargo deny --log-level error check licenses bans sources
	cargo test $(ALL) --test tidy --quiet

.PHONY: cluster
cluster: tools ## Start a real Kubernetes of one node on this machine, as root, and print how to use it and how to leave.
	@$(TOOL) cluster >/dev/null
	cargo build $(ALL) --bins
	@target/debug/cluster up

.PHONY: samples
samples: ## Build the samples; where a tool is missing, take the committed component.
	@$(MAKE) -C samples

.PHONY: crds
crds: tools ## Write deploy/crds from the Rust types.
	cargo build $(ALL) --example crdgen
	target/debug/examples/crdgen deploy/crds

.PHONY: bench
bench: tools ## Measure what docs/performance.md promises, beside other programs. Ten minutes on an idle machine.
	@benches/run

.PHONY: fmt
fmt: tools ## Format.
	cargo fmt --all

.PHONY: tools
tools:
	@$(TOOL) rust
