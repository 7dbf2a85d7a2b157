# Every target works in a fresh clone; it needs make and Python 3.11 or newer, nothing else.
PYTHON ?= python3
VENV   ?= .venv
# Test files run side by side, each on one thread.
JOBS   ?= 2

BIN := $(VENV)/bin
# One environment, one stamp for each set of packages: a target installs what it needs and no more,
# and installs again only after pyproject.toml or constraints.txt has changed.
INSTALL  = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e
REQUIRED = pyproject.toml constraints.txt

.PHONY: help demo test slow lint wheel clean
# Two pip processes in one environment would tread on each other, whatever -j says.
.NOTPARALLEL:

help:
	@echo "make demo    the main job: train, compare all methods, draw; about 5 minutes, in runs/demo"
	@echo "make test    the tests (make slow: the long ones)"
	@echo "make lint    ruff and mypy"
	@echo "make wheel   build dist/*.whl and try it in a clean environment"
	@echo "make clean   remove the environment, builds and caches"

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py --out runs/demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/.lint
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

wheel: $(VENV)/.lint
	PYTHON=$(PYTHON) VENV=$(VENV) .ci/run wheel

clean:
	rm -rf $(VENV) build dist pdesolve.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pdesolve domains experts tests examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Order-only: the interpreter is a link whose date says nothing.
$(VENV)/.core: $(REQUIRED) | $(BIN)/python
	$(INSTALL) .
	touch $@

$(VENV)/.test: $(REQUIRED) | $(BIN)/python
	$(INSTALL) ".[test]"
	touch $@ $(VENV)/.core

$(VENV)/.lint: $(REQUIRED) | $(BIN)/python
	$(INSTALL) ".[lint]"
	touch $@ $(VENV)/.core

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("pdesolve needs Python 3.11 or newer, not %d.%d: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
