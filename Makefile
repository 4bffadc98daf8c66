# Needs Python 3.11 or newer, make and git; everything else goes into .venv, once.
#
#   make demo         a pruning study on handwritten digits; the second time it computes nothing
#   make test         the tests, in parallel (JOBS=4 chooses how many; ARGS="-k moment" goes to pytest)
#   make stress       the tests that search for minutes
#   make lint         ruff and mypy --strict
#   make notebooks    run the notebooks
#   make bench        dagtree beside raw Dask and joblib, as ratios
#   make clean        remove .venv and what tools left behind; runs/ is yours and stays
#
#   make demo PYTHON=python3.12                                        with a Python of your choice
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu         torch without CUDA: gigabytes less

# The first of these that is new enough; asked only when there is something to install.
new_enough := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(or $(shell for each in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$each -c '$(new_enough)' 2>/dev/null && echo $$each && break; done),python3)
TORCH_INDEX ?=
JOBS ?= auto
ARGS ?=

# Relative, so that a path with spaces is no trouble.
venv := .venv
python := $(venv)/bin/python
installed := $(venv)/.installed
pip := $(python) -m pip --disable-pip-version-check install -qq --progress-bar off

.DEFAULT_GOAL := help
.PHONY: help demo test stress lint notebooks bench clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(installed)
	@$(python) examples/digits_study.py

test: $(installed)
	@$(python) -m pytest -n $(JOBS) --maxprocesses 8 --dist worksteal $(ARGS)

stress: $(installed)
	@$(python) -m pytest -n $(JOBS) --maxprocesses 8 -m stress $(ARGS)

lint: $(installed)
	@$(python) -m ruff check .
	@$(python) -m mypy

notebooks: $(installed)
	@$(python) -m pytest -n $(JOBS) tests/test_notebooks.py

bench: $(installed)
	@$(python) -m benchmarks $(ARGS)

clean:
	rm -rf $(venv) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch is named with its exact version, because any other spelling may choose a build of gigabytes.
$(installed): pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(new_enough)' 2>/dev/null || { \
		echo "dagtree needs Python 3.11 or newer, and '$(PYTHON)' is not: $$("$(PYTHON)" --version 2>&1)." >&2; \
		echo "Name another one: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12" >&2; exit 1; }
	@$(python) -m pip --version >/dev/null 2>&1 || { \
		echo "Making $(venv) with $$("$(PYTHON)" --version) ..."; \
		"$(PYTHON)" -m venv --clear $(venv) || { \
			echo "'$(PYTHON)' can't make virtual environments (on Debian and Ubuntu: apt install python3-venv)." >&2; \
			rm -rf $(venv); exit 1; }; }
	@echo "Installing torch and scikit-learn (once; a minute or two) ..."
	@$(pip) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt torch==2.13.0 scikit-learn
	@echo "Installing dagtree, its tests and its linters ..."
	@$(pip) -c constraints.txt torch==2.13.0 -e '.[demo,test,lint]'
	@touch $@
