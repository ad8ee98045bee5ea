# Every target works as the first command in a fresh clone that has only Python 3.11 or 3.12, make and git.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo presets test test-faults lint bench bench-quick up down lock sbom clean

VENV := .venv
BIN := $(VENV)/bin
# Tools that make files about what is installed, and must not be among it.
TOOLS := .venv-release
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

# Faults of a kind (killed; frozen or stopped; damaged) happen to the same jobs, which takes half an hour and more. ALONE=1 gives each jobs of
# its own, for hours; FAULTS="frozen or disk" does some of these (pytest -k), and changes no page. ROUNDS=1 JOBS=6 is a look.
test-faults: $(VENV)/.dev ## break a running stack in every way, three rounds each; the table of docs/reliability.md
	@status=0; NORMLAB_FAULT_ROUNDS=$(or $(ROUNDS),3) NORMLAB_FAULT_JOBS=$(or $(JOBS),24) NORMLAB_FAULT_ALONE=$(or $(ALONE),$(FAULTS)) \
	  NORMLAB_FAULT_REPORT=faults-result.json \
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

# What the image installs, and what a laptop does. Every file of a release has its hash there, also those of other
# platforms; Windows has none of our servers. To move a pin, change it in constraints.txt first.
lock: $(TOOLS)/.installed ## write locks/*.txt: all packages with the hashes of their files (needs the registry)
	@mkdir -p locks
	@for lock in "image --extra s3 --extra otel" "all --all-extras"; do set -- $$lock; name=$$1; shift; \
	  echo "# Written by \`make lock\`: pip install --require-hashes --requirement locks/$$name.txt" > $(TOOLS)/$$name.txt; \
	  $(TOOLS)/bin/uv pip compile pyproject.toml "$$@" --quiet --universal --python-version 3.11 \
	    --constraint constraints.txt --generate-hashes --no-header --no-annotate >> $(TOOLS)/$$name.txt; \
	  mv $(TOOLS)/$$name.txt locks/$$name.txt; done

sbom: $(VENV)/.installed $(TOOLS)/.installed ## write sbom.json: what is installed in .venv, as CycloneDX
	@$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate --output-format JSON --output-file sbom.json $(BIN)/python
	@echo "sbom.json lists what is installed in $(VENV)"

clean: ## remove the virtual environment and caches (not the data in NORMLAB_HOME)
	@rm -rf $(VENV) $(TOOLS) *.egg-info build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Normlab needs Python 3.11 or 3.12 (with venv); name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Installing Normlab into $(VENV) (about 2 minutes the first time)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[local,mcp]'
	@touch $@

# Old pip knows no dependency groups, so pip itself comes first, at its pin.
$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing the tools for tests and lint"
	@$(PIP) pip
	@$(PIP) --group dev
	@touch $@

$(TOOLS)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Normlab needs Python 3.11 or 3.12 (with venv); name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(TOOLS)/bin/pip || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group release
	@touch $@
