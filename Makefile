# Every target makes its virtual environment itself when it is missing. No target calls a system package manager.
PYTHON ?= python3
VENV ?= .venv
# the version we test; an installation never replaces a torch that is there
TORCH ?= torch==2.13.0
PYTEST_ARGS ?=
# of the second environment, which has MiniHack
OLDEST_ARGS ?=
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-full test-oldest check format bench docs gpu package smoke clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       train an agent with and without shaping: a table and a picture in runs/demo"
	@echo "make test       the tests            make test-full  also the long ones"
	@echo "make check      ruff, format, mypy, the layer test"
	@echo "make bench      overhead of shaping against its peers, then the evidence suite (resumes)"
	@echo "make docs       the documentation    make gpu        the text agent on cuda against the CPU"

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml | $(BIN)/python
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/pip install -q '$(TORCH)'
	$(BIN)/pip install -q -e '.[dev]'
	$(BIN)/milepost setup judges swe-data bfcl tau2
	$(BIN)/pip install -q -e '.[textworld]' || echo "TextWorld could not be installed (jericho needs gcc and make): its demo half and tests are left out"
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/milepost demo

test: $(VENV)/.ready $(VENV)-oldest/.ready
	$(BIN)/python -m pytest -n 2 -m "not full" $(PYTEST_ARGS)
	$(VENV)-oldest/bin/python -m pytest -n 2 -m "(core or minihack) and not (full or swe or tools)" $(OLDEST_ARGS)

test-full: $(VENV)/.ready test-oldest
	HYPOTHESIS_PROFILE=full $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

# the oldest gymnasium that we support (nle pins it), with MiniHack and little else but the core's own dependencies
test-oldest: $(VENV)-oldest/.ready
	$(VENV)-oldest/bin/python -m pytest -n 2 -m "core or minihack" $(OLDEST_ARGS)

$(VENV)-oldest/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install -q -e . 'gymnasium==1.2.0' pytest pytest-xdist pytest-timeout hypothesis
	$(VENV)-oldest/bin/pip install -q -e '.[minihack]' 'gymnasium==1.2.0' || echo "MiniHack could not be installed (nle is for Linux): its tests are left out"
	@touch $@

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p milepost
	$(BIN)/python -m pytest tests/test_layers.py

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/shaping_overhead.py
	$(BIN)/milepost bench benchmarks/shaping_helps.toml --allow-import hackable

docs: $(VENV)/.ready
	$(BIN)/pip install -q -e '.[docs]'
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

gpu: $(VENV)/.ready
	$(BIN)/python benchmarks/gpu_rates.py

package: $(VENV)/.ready
	rm -rf dist
	$(BIN)/python -m build -q

# two minutes against the built wheel in an environment that has only what the wheel asks for
smoke: package
	$(PYTHON) -m venv --clear $(VENV)-wheel
	$(VENV)-wheel/bin/pip install -q dist/*.whl pytest pytest-timeout hypothesis
	$(VENV)-wheel/bin/python -P -m pytest -m smoke $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-wheel dist build docs/_build
