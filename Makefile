# make demo    everything on drawn scenes, five minutes
# make test    the tests
# make setup   what the scripts need, in .venv; CUDA=12 or CUDA=13 adds CuPy
# PYTHON=python3.12 picks the interpreter that .venv is made with
PYTHON ?= python3
CUDA ?=
VENV = .venv
BIN = $(VENV)/bin
REQUIREMENTS = requirements$(if $(CUDA),-cuda$(CUDA)).txt
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint setup clean

demo: setup
	PYTHON=$(BIN)/python sh data/demo.sh

# One process a core, so matrix products get one thread each.
test: setup $(VENV)/.requirements-dev.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: setup $(VENV)/.requirements-dev.txt
	$(BIN)/python -m ruff check .

setup: $(VENV)/.$(REQUIREMENTS)

clean:
	rm -rf $(VENV) demo

# Chainer's setup.py imports pkg_resources, which setuptools 81 dropped, so Chainer is built
# with an older setuptools that is already there.
$(VENV)/.requirements%: requirements% requirements.txt | $(BIN)/python
	$(PIP) "setuptools<81" wheel
	$(PIP) --no-build-isolation -r $<
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
	    { echo "error: $(PYTHON) is not there; install Python 3.10 or later, or name one: make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "error: $$($(PYTHON) --version) is too old; name Python 3.10 or later: make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
