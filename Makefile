# One command each for what a user, a developer, a hook and CI do. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
UV_VERSION := 0.13.9

# Processes that run the tests at once: much of the time they wait. A choice of tests (ARGS) needs none beside itself.
WORKERS ?= $(if $(ARGS),0,3)

# Folders that hold Python; those not there yet are left out.
CODE := $(wildcard src tests benchmarks examples tools)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

PIP := $(BIN)/python -m pip --quiet
STAMP_VENV := $(VENV)/.stamp-venv
STAMP_RUNTIME := $(VENV)/.stamp-runtime
STAMP_DEV := $(VENV)/.stamp-dev
STAMP_PROJECT := $(VENV)/.stamp-project

.PHONY: help up kafka postgres snowflake test check format bench lock install install-dev clean

help: ## list these commands
	@echo "FlowGuard:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo 'Options go in ARGS: make up ARGS="--port 9000", make test ARGS="-k gateway"'
	@echo 'All tests run in three processes, those of ARGS in one; make test WORKERS=2 says otherwise (0: without workers)'

up: install ## install what running needs, then start the whole pipeline (Ctrl-C drains and stops)
	@exec $(BIN)/flowguard up $(ARGS)

kafka: install ## a real Apache Kafka on this machine, for FLOWGUARD_LOG_URL (stop it: .venv/bin/flowguard dev kafka down)
	@$(BIN)/flowguard dev kafka up $(ARGS)

postgres: install ## a real PostgreSQL on this machine, for FLOWGUARD_SINK_URL (stop it: .venv/bin/flowguard dev postgres down)
	@$(BIN)/flowguard dev postgres up $(ARGS)

snowflake: install ## a local stand-in for Snowflake, for FLOWGUARD_SINK_URL (stop it: .venv/bin/flowguard dev snowflake down)
	@$(BIN)/flowguard dev snowflake up $(ARGS)

test: install-dev ## install what tests need, then run every test whose server is there or can be started (Kafka: Java 17)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: install-dev ## format, lint, types and layers, as CI does
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy $(CODE)
	@$(BIN)/lint-imports --no-logo

format: install-dev ## rewrite the code in the house format and mend what can be mended by rule
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

bench: install-dev ## measure, beside the raw limit of this machine
	@$(BIN)/python -m benchmarks $(ARGS)

# --- Installing: each step leaves a stamp, so that a second run costs nothing --------------------------------

install: $(STAMP_RUNTIME) $(STAMP_PROJECT)
install-dev: $(STAMP_DEV) $(STAMP_PROJECT)

# The first of these that is Python 3.11+ and can make a virtual environment; PYTHON=... names another.
$(STAMP_VENV):
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv $(VENV) && touch $@; \
	    exit $$?; \
	  fi; \
	done; \
	echo "FlowGuard needs Python 3.11 or newer, with its venv module; found: $$(python3 --version 2>/dev/null || echo none)." >&2; \
	echo "Install it (Debian, Ubuntu: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1

$(STAMP_RUNTIME): requirements/runtime.txt | $(STAMP_VENV)
	@echo "Installing what FlowGuard needs from requirements/runtime.txt"
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@touch $@

# The development lock holds the runtime lock, at the same versions.
$(STAMP_DEV): requirements/dev.txt | $(STAMP_VENV)
	@echo "Installing what tests and checks need from requirements/dev.txt"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@ $(STAMP_RUNTIME)

# Editable: a change in src/ is in force at once. Nothing is fetched here, the build backend is in the lock.
$(STAMP_PROJECT): pyproject.toml | $(STAMP_VENV)
	@test -e $(STAMP_RUNTIME) || $(MAKE) $(STAMP_RUNTIME)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# --- The lock ------------------------------------------------------------------------------------------------

UV ?= $(VENV)/lock/bin/uv
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(LOCK_ARGS)
# What the stand-in for Snowflake runs on: an environment of its own.
STAND_IN := src/flowguard/entrypoints/dev/snowflake_standin/requirements

$(VENV)/lock/bin/uv: | $(STAMP_VENV)
	@$(BIN)/python -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip --quiet install uv==$(UV_VERSION)

lock: $(UV) ## resolve the requirements again (newer versions: LOCK_ARGS=--upgrade)
	@$(COMPILE) pyproject.toml --extra kafka --extra postgres --extra snowflake --group build --output-file requirements/runtime.txt
	@$(COMPILE) pyproject.toml --extra kafka --extra postgres --extra snowflake --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt
	@$(COMPILE) $(STAND_IN).in --output-file $(STAND_IN).txt

clean: ## remove the environment, caches and builds (your data in flowguard-data stays)
	@rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
