# Everything a fresh machine needs, given make and Python 3.11 or newer: `make quickstart` and `make test`.

# The first Python here that is new enough; another with `make PYTHON=/path/to/python3 quickstart`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
NEWEST ?= $(shell for p in python3 python3.13 python3.12; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# For Python 3.11 there is no JAX after 0.10, so that it and later Pythons have a lock each.
LOCKS := requirements/$(shell $(or $(wildcard $(BIN)/python),$(PYTHON),false) -c \
	'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo py312 || echo py311)

.PHONY: quickstart test test-slow test-all test-newest lint peers corpus ray serve eval interop metrics cuda tpu plan plan-540b wheel lock lock-py311 lock-py312 lock-peers clean

quickstart: $(VENV)/core $(VENV)/serve  ## install and pretrain a small PaLM on this Python's own text
	$(BIN)/palmetto run quickstart --minutes 5

PYTEST := MAKEFLAGS= $(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))') --dist worksteal

test: lint  ## install, lint, check types, run the tests that take seconds
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/dev peers  ## run what `test` leaves out: whole runs, drills, many devices, TPU programs
	$(PYTEST) -m slow

# Each has an environment of its own, .venv-torch and so on; tests skip what cannot be installed.
peers: $(VENV)/core  ## install PyTorch, llama.cpp and CTranslate2, which exports are compared in
	-$(BIN)/python benchmarks/peer_environment.py

test-all: test test-slow  ## both

test-newest:  ## the same with the newest JAX, in .venv-newest
	@test -n "$(NEWEST)" || { echo "the newest JAX needs Python 3.12 or newer, and none was found: make NEWEST=/path/to/python3 $@"; exit 2; }
	$(MAKE) VENV=.venv-newest PYTHON=$(NEWEST) test-all

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/core: $(LOCKS)/core.txt pyproject.toml | $(BIN)/python
	@echo "installing JAX and other libraries into $(VENV): a minute or a few, without output"
	$(PIP) install --require-hashes -r $<
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(addprefix $(VENV)/,dev corpus ray serve eval interop metrics cuda plan): $(VENV)/%: $(LOCKS)/%.txt $(VENV)/core
	$(PIP) install --require-hashes -r $<
	@touch $@

corpus: $(VENV)/corpus  ## install what `palmetto corpus` reads and judges with
ray: $(VENV)/ray  ## the same, and what spreads it over a cluster
serve: $(VENV)/serve  ## install what `palmetto serve` answers with
eval: $(VENV)/eval  ## install lm-eval, for its tasks
interop: $(VENV)/interop  ## install what imported tokenizers and addresses need
metrics: $(VENV)/metrics  ## install what `palmetto eval` scores translations and summaries with
cuda: $(VENV)/cuda  ## install what NVIDIA GPUs need
tpu: $(VENV)/plan  ## install what TPUs need, their compiler included

wheel: $(VENV)/core  ## make dist/palmetto-VERSION-py3-none-any.whl
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

plan: $(VENV)/plan  ## install the TPU compiler, and plan the largest recipe for two TPU pods
	$(BIN)/palmetto plan palm-540b --topology v4:12x16x16 --slices 2

plan-540b: $(VENV)/plan  ## the same for the batch of 512 alone: fails if the program does not fit
	$(BIN)/palmetto plan palm-540b --topology v4:12x16x16 --slices 2 training.batch_size=512

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "palmetto needs Python 3.11 or newer, and none was found: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "palmetto needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks its venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The locks name no index, so that any mirror serves. Each is made by the oldest Python that it is for, with pip-tools.
COMPILE = .venv-lock/$(notdir $(LOCKS))/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --strip-extras --allow-unsafe --no-header
lock: lock-py311 lock-py312  ## write the locks anew, which needs both Pythons
lock-py311 lock-py312: LOCKS = requirements/py3$*
lock-py311 lock-py312: lock-py3%:
	python3.$* -m venv .venv-lock/py3$*
	.venv-lock/py3$*/bin/python -m pip install --quiet pip-tools
	$(COMPILE) --output-file $(LOCKS)/core.txt pyproject.toml requirements/build.in
	$(COMPILE) --extra plan --constraint $(LOCKS)/core.txt --output-file $(LOCKS)/plan.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra corpus --constraint $(LOCKS)/core.txt --output-file $(LOCKS)/corpus.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra corpus --extra ray --constraint $(LOCKS)/corpus.txt --output-file $(LOCKS)/ray.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra serve --constraint $(LOCKS)/core.txt --output-file $(LOCKS)/serve.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra eval --constraint $(LOCKS)/core.txt --output-file $(LOCKS)/eval.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra interop --constraint $(LOCKS)/core.txt --output-file $(LOCKS)/interop.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra metrics --constraint $(LOCKS)/core.txt --output-file $(LOCKS)/metrics.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra cuda --constraint $(LOCKS)/core.txt --output-file $(LOCKS)/cuda.txt \
		pyproject.toml requirements/build.in
	$(COMPILE) --extra dev --extra corpus --extra ray --extra serve --extra interop --extra metrics \
		--constraint $(LOCKS)/plan.txt --constraint $(LOCKS)/ray.txt --constraint $(LOCKS)/serve.txt \
		--constraint $(LOCKS)/interop.txt --constraint $(LOCKS)/metrics.txt \
		--output-file $(LOCKS)/dev.txt pyproject.toml requirements/build.in requirements/tests.in

lock-peers: LOCKS = requirements/py311
lock-peers: lock-py311  ## the same for the environments of peers, one for all Pythons
	$(foreach peer,llamacpp ctranslate2,$(COMPILE) --output-file requirements/peers/$(peer).txt requirements/peers/$(peer).in;)

clean:
	rm -rf .venv .venv-newest .venv-lock
