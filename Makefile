# Two commands need nothing but Linux and Python 3.11 or newer:
#   make demo    how long does an orbit take? a network fitted, judged, saved and loaded, and a formula found
#   make test    style, layering, types and every test
# Both build .venv here on first use and need no network afterwards. Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
NATIVE := $(wildcard native/*)
ASAN_TESTS ?= tests/ops tests/fitting/test_compiled.py
# Where there is a compiler, kernels that do not compile are an error; where there is none, PyTorch alone does the work.
export SUPERPOSE_REQUIRE_KERNELS ?= $(if $(shell command -v $${CXX:-c++} || command -v g++ || command -v clang++),1)
BIN := .venv/bin
INSTALL := $(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --build-constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint format native asan wheel check-wheel constraints clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

demo: .venv/.native
	$(BIN)/superpose demo

test: lint .venv/.native
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

native: .venv/.native

# The kernels' tests with every read and write checked, on a copy.
asan: .venv/.dev
	mkdir -p build/asan
	cp -r native src tests pyproject.toml build/asan
	cd build/asan && CXXFLAGS="-O1 -g1 -fsanitize=address,undefined" ../../$(BIN)/python native/build.py
	cd build/asan && LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	  ../../$(BIN)/python -m pytest -p no:cacheprovider $(ASAN_TESTS)

wheel: .venv/.run
	rm -rf dist
	SUPERPOSE_REQUIRE_KERNELS=1 $(BIN)/uv build --quiet --python $(BIN)/python --build-constraint constraints.txt
	@ls dist

# One wheel in fresh environments: CHECK="--python python3.11 python3.12 --torch 2.13.0 2.15.0"
check-wheel: wheel .venv/.dev
	$(BIN)/python benchmarks/one_wheel.py --wheel dist/*.whl $(CHECK)

# Write down what the environment holds now, for everyone who comes after.
constraints: .venv/.dev
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | sed -n 's/^\([A-Za-z0-9._-]*==[^+ ]*\).*/\1/p' > constraints.txt

clean:
	rm -rf .venv dist build src/superpose/libsuperpose.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/.dev: .venv/.run
	$(INSTALL) --editable ".[cli,plot,vision,data]" --group dev
	@touch $@

# The installation has compiled the kernels already, and what has not changed since is not compiled again.
.venv/.native: .venv/.run $(NATIVE)
	$(BIN)/python native/build.py
	@touch $@

.venv/.run: $(BIN)/uv pyproject.toml hatch_build.py constraints.txt
	$(INSTALL) --editable ".[cli,plot]"
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "superpose needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@
