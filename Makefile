# Everything starts from nothing: each target makes .venv and installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check docs site dist slow fuzz gpu clean

demo: .venv/demo
	$(BIN)/rain demo

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is generated in the documents: figures, tables and plots, from the result files in studies/.
docs: .venv/dev
	$(BIN)/python docs/method.py
	$(BIN)/python docs/defenses.py
	$(BIN)/python docs/refresh.py
	$(BIN)/python docs/study/make.py

# The guide, the results, the notebook and the reference, as pages in build/site.
site: .venv/docs
	rm -rf build/site docs/reference
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going -d build/doctrees docs build/site

# A wheel and an sdist in dist/; the wheel must work in an empty environment. Needs a package registry.
dist: .venv/dev
	rm -rf dist src/*.egg-info
	$(BIN)/python -m build
	PYTHON=$(PYTHON) .ci/try-wheel

# Needs the development images and weights; an hour or more.
slow: .venv/dev
	$(BIN)/pytest -m slow

# Broken files and odd options through every reader: ten minutes at most.
fuzz: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz.py --cases 20000 --minutes 10

# On a machine with a GPU.
gpu: .venv/dev
	$(BIN)/pytest -m gpu

.venv/demo .venv/dev .venv/docs: .venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build dist src/*.egg-info
