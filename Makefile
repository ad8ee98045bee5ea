# Every target works as the first command in a fresh clone that has only Python 3.11 or 3.12, make and git.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo presets test test-faults lint bench bench-quick up down clean

VENV := .venv
BIN := $(VENV)/bin
PIP := PYTHONUNBUFFERED=1 $(BIN)/python .ci/install.py $(VENV)/install.log $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-compile --constraint constraints.txt
# A shim of pyenv may stand for a Python that isn't there, so each candidate is asked.
PYTHON ?= $(shell for python in python3.11 python3.12 python3 python; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; done)

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## install, start the local stack, run the demo study, print the comparison
	@$(BIN)/normlab demo

presets: $(VENV)/.installed ## run the catalogue of presets at small scale (resumable), write presets/index.html
	@$(BIN)/normlab up --detach
	@$(BIN)/normlab preset all

# All tests are shared by three processes (tests/support/sharing.py); a few start sooner in one.
test: $(VENV)/.dev ## install and run all tests (TESTS=tests/store for some)
	@$(BIN)/python -m pytest --durations=10 $(or $(TESTS),-n 3)

# It takes hours. ROUNDS=1 JOBS=6 is a look; FAULTS="frozen or disk" does some (pytest -k), and changes no page.
test-faults: $(VENV)/.dev ## break a running stack in every way, three rounds each; the table of docs/reliability.md
	@status=0; NORMLAB_FAULT_ROUNDS=$(or $(ROUNDS),3) NORMLAB_FAULT_JOBS=$(or $(JOBS),24) NORMLAB_FAULT_REPORT=faults-result.json \
	  $(BIN)/python -m pytest -v tests/system/faults/test_every_fault.py $(if $(FAULTS),-k "$(FAULTS)") || status=$$?; \
	$(if $(FAULTS),,$(BIN)/python -m tests.support.faults.report faults-result.json --into docs/reliability.md;) exit $$status

lint: $(VENV)/.dev ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.dev ## measure every figure of docs/performance.md beside its goal, with what people would use instead
	@$(BIN)/python -m bench

bench-quick: $(VENV)/.dev ## the same in three minutes: fewer rounds, sections and peers
	@$(BIN)/python -m bench --quick

up: $(VENV)/.installed ## start the local stack in the background
	@$(BIN)/normlab up --detach

down: ## stop the local stack
	@if test -x $(BIN)/normlab; then $(BIN)/normlab down; else echo "Nothing is installed in $(VENV), so nothing runs from it."; fi

clean: ## remove the virtual environment and caches (not the data in NORMLAB_HOME)
	@rm -rf $(VENV) *.egg-info build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Normlab needs Python 3.11 or 3.12 (with venv); name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing Normlab into $(VENV) (about 2 minutes the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[local]'
	@touch $@

# Old pip knows no dependency groups, so pip itself comes first, at its pin.
$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing the tools for tests and lint"
	@$(PIP) pip
	@$(PIP) --group dev
	@touch $@
