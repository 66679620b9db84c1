# Everything a newcomer needs is a target here; each one creates .venv and installs what it needs first. Running twice is fast.
#
#   PYTHON     the interpreter that .venv is made from (3.11 to 3.13)
#   PIP_FLAGS  more flags for pip, e.g. PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for a smaller torch without CUDA
#   RUN        where `make demo` writes its run (runs/demo)
#   ARGS       passed on to pytest, e.g. make test ARGS="tests/batch -x"

PYTHON ?= python3
PIP_FLAGS ?=
ARGS ?=
RUN ?= runs/demo

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format docs clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

setup: $(INSTALLED) ## create .venv and install instil with what its tests and linters need

demo: $(INSTALLED) ## tune the built-in model and see what it learned, in three minutes; RUN=folder
	@$(BIN)/instil demo --run $(RUN)

test: $(INSTALLED) ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED) ## ruff, mypy, import-linter
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(INSTALLED) ## sort imports, format, and apply the safe fixes of ruff
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(INSTALLED) ## write docs/reference.md from the code
	@$(BIN)/python scripts/reference.py

clean: ## remove caches and build products; .venv and runs stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "instil needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is not: name one, e.g. make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(INSTALLED): pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable '.[curate,gguf,qlora,serve,test,dev]'
	@touch $@
