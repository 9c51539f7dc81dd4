# Everything a person types: `make help`.
#
# `make up` needs only Python ≥ 3.11: one is found, a virtual environment made, what is locked installed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?=
BIN := $(VENV)/bin
ARGS ?=
TESTS ?= tests
# One pytest process for each core, at most four: every one starts a PostgreSQL of its own.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
# By file, so that what a file's tests share is started once.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS) $(TESTS)

.PHONY: help up test test-full check format proto docs bench lock doctor clean

help:  ## Show this.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: runtime  ## Set everything up and start it here; ARGS="--port 8080 --state DIR …"; Ctrl-C stops it.
	@exec $(BIN)/beautymesh up $(ARGS)

test: dev  ## Set everything up and pass every test, at its quick size; TESTS=tests/… for a part.
	$(PYTEST)

test-full: dev  ## The same at full size.
	TEST_SIZE=full $(PYTEST)

check: dev  ## Prove style, types, layers, contract, and that what is generated is fresh.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m meshctl.dev.locks
	$(BIN)/python -m meshctl.dev.protogen --check
	$(BIN)/python docs/build.py --check
	$(BIN)/mypy

format: dev  ## Format the code and mend what ruff can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: dev  ## Regenerate generated/ from protos/, offline.
	$(BIN)/python -m meshctl.dev.protogen

bench: dev  ## Measure; writes bench/results.json.
	$(BIN)/python -m bench $(ARGS)

lock: dev  ## Renew both locks.
	$(BIN)/python -m meshctl.dev.locks --renew

doctor: runtime  ## Tell what is missing here, and how to get it.
	@$(BIN)/beautymesh doctor $(ARGS)

clean:  ## Remove everything that can be made again.
	rm -rf $(VENV) .venv* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Asked every time: the script knows by its stamp whether there is anything to do.
.PHONY: runtime dev
runtime:
	@meshctl/install.sh $(VENV) requirements.lock "$(PYTHON)"

dev:
	@meshctl/install.sh $(VENV) requirements-dev.lock "$(PYTHON)"
