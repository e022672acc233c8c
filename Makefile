# Everything a fresh machine needs, given make and Python 3.11 or newer: `make quickstart` and `make test`.

# The first Python here that is new enough; another with `make PYTHON=/path/to/python3 quickstart`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: quickstart test test-slow test-all lint corpus ray cuda tpu plan plan-540b wheel lock clean

quickstart: .venv/core  ## install and pretrain a small PaLM on this Python's own text
	$(BIN)/palmetto run quickstart

PYTEST := $(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))') --dist worksteal

test: lint  ## install, lint, check types, run the tests that take seconds
	$(PYTEST) -m "not slow"

test-slow: .venv/dev  ## run what `test` leaves out: whole runs, drills, many devices, TPU programs
	$(PYTEST) -m slow

test-all: test test-slow  ## both

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/core: requirements/core.txt pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/core.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev .venv/corpus .venv/ray .venv/cuda .venv/plan: .venv/%: requirements/%.txt .venv/core
	$(BIN)/python -m pip install --quiet --require-hashes -r $<
	@touch $@

corpus: .venv/corpus  ## install what `palmetto corpus` reads and judges with
ray: .venv/ray  ## the same, and what spreads it over a cluster
cuda: .venv/cuda  ## install what NVIDIA GPUs need
tpu: .venv/plan  ## install what TPUs need, their compiler included

wheel: .venv/core  ## make dist/palmetto-VERSION-py3-none-any.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

plan: .venv/plan  ## install the TPU compiler, and plan the largest recipe for two TPU pods
	$(BIN)/palmetto plan palm-540b --topology v4:12x16x16 --slices 2

plan-540b: .venv/plan  ## the same for the batch of 512 alone: fails if the program does not fit
	$(BIN)/palmetto plan palm-540b --topology v4:12x16x16 --slices 2 training.batch_size=512

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "palmetto needs Python 3.11 or newer, and none was found: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "palmetto needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks its venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 2; }
	$(PYTHON) -m venv .venv

# The locks name no index, so that any mirror serves; needs pip-tools.
COMPILE := pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	--strip-extras --allow-unsafe --no-header
lock:
	$(COMPILE) --output-file requirements/core.txt pyproject.toml requirements/build.in
	$(COMPILE) --extra plan --constraint requirements/core.txt --output-file requirements/plan.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra corpus --constraint requirements/core.txt --output-file requirements/corpus.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra corpus --extra ray --constraint requirements/corpus.txt --output-file requirements/ray.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra cuda --constraint requirements/core.txt --output-file requirements/cuda.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra dev --extra corpus --extra ray --constraint requirements/plan.txt --constraint requirements/ray.txt \
		--output-file requirements/dev.txt pyproject.toml requirements/build.in requirements/tests.in

clean:
	rm -rf .venv
