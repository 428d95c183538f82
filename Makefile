# make demo   everything in one go: install, train, export --int8, verify, compare with float
# make test   lint, types and all tests, the second environment with tflite-runtime included
# make toolchain  cross compilers and emulators for the tests of the exported C; make test calls it
# make bench  step latency against the other engines;  make accuracy DATA=folder  float against int8

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# tflite-runtime 2.14.0, the last release, has wheels for Python 3.10 and 3.11 and needs NumPy 1.
OLD_VENV := .venv-tflite
OLD_PYTHON := $(firstword $(foreach p,$(PYTHON) python3.11 python3.10,$(if $(shell \
	$(p) -c 'import sys; print(sys.version_info[:2] in ((3, 10), (3, 11)) or "")' 2>/dev/null \
	| grep True),$(p))))
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
DATA ?=

.PHONY: demo test lint toolchain bench accuracy clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

ifneq ($(OLD_PYTHON),)
$(OLD_VENV)/.installed:
	$(OLD_PYTHON) -m venv $(OLD_VENV)
	$(OLD_VENV)/bin/python -m pip install -q --disable-pip-version-check \
		'numpy==1.24.2' 'tflite-runtime==2.14.0'
	@touch $@
else
$(OLD_VENV)/.installed:
	@if [ "$$CI" = true ]; then \
		echo "no Python 3.10 or 3.11 for tflite-runtime 2.14.0, and CI may skip nothing"; exit 1; fi
	@echo "skipped: tflite-runtime 2.14.0 needs Python 3.10 or 3.11, and none was found"
endif

demo: $(BIN)/.installed
	$(BIN)/python -m benchmarks.demo

lint: $(BIN)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/typing_layout.py
	cd build/typing && ../../$(BIN)/mypy --config-file ../../pyproject.toml edgernn

# Cross compilers and emulators; says what it cannot have, whose tests are then skipped.
toolchain:
	@firmware_tests/toolchain.sh

test: lint toolchain $(OLD_VENV)/.installed
	EDGERNN_TFLITE_RUNTIME_PYTHON=$(if $(OLD_PYTHON),$(CURDIR)/$(OLD_VENV)/bin/python) \
		OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

bench: $(BIN)/.installed
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.latency
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.native
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q benchmarks \
		--benchmark-group-by=param:hidden --benchmark-columns=min,median,iqr,rounds

accuracy: $(BIN)/.installed
	@test -n "$(DATA)" || { echo "name the data: make accuracy DATA=folder"; exit 2; }
	$(BIN)/python -m benchmarks.accuracy --data $(DATA)

clean:
	rm -rf build dist $(VENV) $(OLD_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
