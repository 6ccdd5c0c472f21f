# Two commands set everything up on a machine that has only python3 (3.11 or newer) and make:
#   make demo    .venv, install, the main job, where its report lies
#   make test    .venv, install, the whole test suite
#
# Variables: PYTHON, VENV, PIP_FLAGS (for every pip call), TORCH_INDEX (where to take torch from, for example
# https://download.pytorch.org/whl/cpu on a machine without a GPU; pip's own configuration decides if empty).

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
TORCH_INDEX ?=
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)

DEMO_PROMPTS := "three blue stars" "a red ring left of a green square" "two pink hearts on a black background" \
	"a yellow triangle above a purple circle" "a photo of a cyan diamond" "an orange cross and a blue circle"

.PHONY: demo test lint types install clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/plaudit generate $(DEMO_PROMPTS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

install: $(STAMP)

# torch comes first and alone: at its pinned version and from its own index, nothing later can draw another build.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "plaudit needs Python 3.11 or newer; name one with PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q $(PIP_FLAGS) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	$(PIP) install -q $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
