PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
DEVELOPED := $(VENV)/developed
DOCUMENTED := $(VENV)/documented
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORLD := data/microworld
DEMO_MODELS := --model arr-coc:latest --model arr-coc:latest,image=none --model majority:latest
PIPELINES := training/configs/pipelines

.PHONY: help install demo pipeline-demo test test-slow lint bench docs clean

help:  ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(INSTALLED)  ## Install the harness with its training package into .venv

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt --editable '.[train]'
	touch $@

$(DEVELOPED): $(INSTALLED)
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

$(DOCUMENTED): $(INSTALLED)
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	touch $@

demo: $(INSTALLED)  ## Make a small world, train on it, evaluate, show the result
	$(BIN)/harness data synth --out $(WORLD)
	$(BIN)/harness train training/configs/majority.yaml
	$(BIN)/harness train training/configs/arr_coc/micro.yaml
	$(BIN)/harness eval $(DEMO_MODELS) --suite core

pipeline-demo: $(INSTALLED)  ## Two pipelines from nothing: to an aligned LLaVA, and to a deployed ARR-COC
	$(BIN)/harness data synth --out $(WORLD)
	$(BIN)/harness pipeline $(PIPELINES)/vlm.yaml
	$(BIN)/harness pipeline $(PIPELINES)/arr_coc.yaml

test: $(DEVELOPED)  ## Check style and types, and run the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -P -m pytest --numprocesses 2 --dist worksteal

test-slow: $(DEVELOPED)  ## Run the tests that take long by nature
	$(BIN)/python -P -m pytest -m slow

bench: $(DEVELOPED)  ## Measure speed and memory
	$(BIN)/python -P perf/startup.py
	$(BIN)/python -P perf/sweep.py

docs: $(DOCUMENTED)  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## Remove what was made, the data and the workspace apart
	rm -rf $(VENV) site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
