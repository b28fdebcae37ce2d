# Two commands matter: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed
# a process per core, each with one thread: two threads in two processes would fight over two cores
TEST    = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: demo test test-fast check docs setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup          ## train, evaluate and predict on procedural images; writes runs/demo/report.html
	$(BIN)/gazehound demo --out runs/demo

test: setup          ## every test, the slow ones too
	$(TEST)

test-fast: setup     ## the tests that take seconds
	$(TEST) -m 'not slow'

check: setup         ## lint, format, strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup          ## the documentation, as pages that open without a network: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache
