# Every target works as the first command in a fresh clone that has only Python 3.11 or 3.12, make and git.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench up down clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## install, start the local stack, run the demo study, print the comparison
	@$(BIN)/normlab demo

test: $(VENV)/.dev ## install and run all tests
	@$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/.dev ## ruff, mypy, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(VENV)/.dev ## measure what the README claims about speed
	@$(BIN)/python -m bench

up: $(VENV)/.installed ## start the local stack in the background
	@$(BIN)/normlab up --detach

down: $(VENV)/.installed ## stop the local stack
	@$(BIN)/normlab down

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing Normlab into $(VENV) (about 3 minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local]'
	@touch $@

# Old pip knows no dependency groups, so pip itself comes first, at its pin.
$(VENV)/.dev: $(VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt pip
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --group dev
	@touch $@
