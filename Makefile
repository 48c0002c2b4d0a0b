# Everything starts from nothing: each target makes .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check dist slow gpu clean

demo: .venv/demo
	$(BIN)/rain demo

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A wheel and an sdist in dist/; the wheel must work in an empty environment. Needs a package registry.
dist: .venv/dev
	rm -rf dist src/*.egg-info
	$(BIN)/python -m build
	PYTHON=$(PYTHON) .ci/try-wheel

# Needs the development images and weights; an hour or more.
slow: .venv/dev
	$(BIN)/pytest -m slow

# On a machine with a GPU.
gpu: .venv/dev
	$(BIN)/pytest -m gpu

.venv/demo .venv/dev: .venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build dist src/*.egg-info
