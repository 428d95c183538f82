# make demo   everything in one go: install, train, export --int8, verify, compare with float
# make test   lint, types and all tests, the second environment with tflite-runtime included
# make toolchain  cross compilers, emulators, a browser for the tests; make test calls it
# make bench [DATA=folder]  all benchmarks, RESULTS.md, pictures; BENCH="--only step" passes options on
# make bench-compare [BASE=folder]  measure again, and what got worse since a saved run

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
BENCH ?=
BASE ?= benchmarks/results

.PHONY: demo test lint toolchain bench bench-compare accuracy family clean

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

# Cross compilers, emulators, a browser; says what it cannot have, whose tests are then skipped.
toolchain:
	@firmware_tests/toolchain.sh

test: lint toolchain $(OLD_VENV)/.installed
	EDGERNN_TFLITE_RUNTIME_PYTHON=$(if $(OLD_PYTHON),$(CURDIR)/$(OLD_VENV)/bin/python) \
		OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

# The benchmarks, RESULTS.md and the pictures; DATA=folder includes the accuracy.
bench: $(BIN)/.installed
	$(BIN)/python -m benchmarks.run $(if $(DATA),--data $(DATA)) $(BENCH)

# The same into build/bench, then what got worse since a saved run, beyond noise.
bench-compare: $(BIN)/.installed
	rm -rf build/bench
	$(BIN)/python -m benchmarks.run --out build/bench $(if $(DATA),--data $(DATA)) $(BENCH)
	$(BIN)/python -m benchmarks.compare $(BASE) build/bench/results

SAVE_accuracy := --seeds 0,1,2 --rounding nearest,search,compensated
accuracy family: $(BIN)/.installed
	@test -n "$(DATA)" || { echo "name the data: make $@ DATA=folder"; exit 2; }
	$(BIN)/python -m benchmarks.$@ --data $(DATA) $(SAVE_$@) --save
	$(BIN)/python -m benchmarks.run --render-only

clean:
	rm -rf build dist $(VENV) $(OLD_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
