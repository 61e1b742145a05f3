# Wrenn. `make up` and `make test` are all that a fresh machine needs; both may be run again at any time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A Rust that was installed a moment ago is not on the caller's PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
WRENN := $(if $(filter 0,$(shell id -u)),$(or $(PREFIX),/usr/local),$(or $(PREFIX),$(HOME)/.local))/bin/wrenn

.PHONY: help up build install packages down test bench soak dashboard clean

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 20

up: install ## Install what is missing, build, start everything
	@$(WRENN) up

packages:
	@scripts/install-packages --build
	@scripts/install-rust

build: packages ## Build the binary and the guest agent
	@cargo build --release --locked --workspace --all-features --bin wrenn
	@cargo xtask envd

install: build ## Put wrenn on the PATH, with completions and manual pages
	@scripts/install-wrenn $(TARGET)

down: ## Stop what `make up` started
	@$(WRENN) down

test: packages ## Run the whole test suite
	@cargo xtask test

soak: packages ## Run the long form of the tests
	@cargo xtask test --soak

bench: packages ## Measure, print a table, write JSON
	@cargo xtask bench

dashboard: ## Build the dashboard's static files
	@echo "the dashboard is not part of this version" >&2

clean: ## Delete what was built, and the image cache
	@cargo clean
	@rm -rf "$${WRENN_CACHE_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/wrenn}"
