# Everything runs from .venv, which `make setup` makes with plain venv and pip.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.setup
RUN := $(VENV)/bin/python -m
PROFILE ?= quick
.DEFAULT_GOAL := help

.PHONY: help setup setup-cuda bench publish report test test-slow test-cluster lint format generate overhead sensors speed mutations bench-steps clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with all that is needed; does nothing the second time

$(STAMP): pyproject.toml constraints.txt bench/__init__.py
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[torch,tensorflow,keras,jax,sklearn,export,report,cluster,dev]'
	@touch $@

# PyTorch and TensorFlow bring libraries of two CUDA releases, and one overwrites files of the other: each gets its own.
setup-cuda: $(foreach f,torch tensorflow jax,.venv-$(f)/.setup) ## Make .venv-torch, .venv-tensorflow, .venv-jax for CUDA

.venv-%/.setup: pyproject.toml constraints.txt bench/__init__.py
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*-cuda]'
	@touch $@

bench: setup ## Train, measure and compare on real data (PROFILE=smoke|quick|full)
	$(RUN) bench run --profile $(PROFILE)

report: setup ## Make the page, plots and tables in results/, and the README's, from results/raw
	$(RUN) bench report

publish: report ## The same as report: all that results/ shows is made of results/raw

test: setup ## Run the tests, but for the slow ones
	$(RUN) pytest -n 2 --dist worksteal -m "not serial and not slow and not cluster"
	$(RUN) pytest -m "serial and not slow"

test-slow: setup ## Run the tests that take ten seconds or more each: gates, mutations, long compilations, the documents' examples
	$(RUN) pytest -n 2 --dist worksteal -m "slow and not serial"
	$(RUN) pytest -m "serial and slow"

test-cluster: setup ## Run plans on a Slurm of one node; skipped where it is not installed (tests/cluster/slurm install)
	$(RUN) pytest -m cluster -rs tests/cluster

lint: setup ## ruff, mypy --strict, and that generated files are up to date
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) bench report --check

format: setup ## Let ruff put the code in order
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

generate: setup ## Make the JSON Schemas anew
	$(RUN) bench schema trial > bench/schema/trial.schema.json
	$(RUN) bench schema certificate > bench/schema/certificate.schema.json
	$(RUN) bench schema study > bench/schema/study.schema.json
	$(RUN) bench schema duet > bench/schema/duet.schema.json

overhead: setup ## What the harness costs: trials against plain scripts, in turn (about 15 minutes)
	$(RUN) tests.perf.overhead --pairs 10

sensors: setup ## What the sensors around a window cost: windows with and without, in turn (about 2 minutes)
	$(RUN) tests.perf.sensors --pairs 60

speed: setup ## Are the implementations as fast as experts write them? Four ratios (about 15 minutes)
	$(RUN) tests.perf.speed --pairs 10

mutations: setup ## Plant deliberate faults; the certificate must refuse each
	$(RUN) bench certify --mutations

bench-steps: setup ## Each entry's training step as a pytest-benchmark (ARGS='-k torch --benchmark-autosave')
	$(RUN) pytest tests/perf/test_steps.py --benchmark-only $(ARGS)

clean: ## Remove .venv and caches, keep results
	rm -rf $(VENV) .venv-torch .venv-tensorflow .venv-jax .mypy_cache .ruff_cache .pytest_cache build *.egg-info
