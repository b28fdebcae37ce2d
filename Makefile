# Two commands matter: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed

.PHONY: demo test test-fast check setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup          ## train, evaluate and predict on procedural images; writes runs/demo/report.html
	$(BIN)/gazehound demo --out runs/demo

test: setup          ## every test, the slow ones too
	$(BIN)/python -m pytest

test-fast: setup     ## the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow'

check: setup         ## lint, format, strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache
