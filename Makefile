# The two commands that matter: `make bench` (the main job) and `make test`. Each command does all set-up itself on a
# machine with only Python (with headers), gcc and make, and installs only what it needs.
# PYTHON=python3.12 chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEBUG := build/debug

.DEFAULT_GOAL := help
.PHONY: help build native variants debug bench plots test test-systems sanitize coverage soak regrtest pyperformance check format docs \
	wheel peers clean

help: ## list these commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# What a step needs: ci/install.py reads it from pyproject.toml.
$(VENV)/.build: pyproject.toml ci/install.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "rtmalloc needs Python 3.10 or later, this is " + sys.version)'
	@test -x $(BIN)/python || { echo "==> a virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python ci/install.py build
	@touch $@

$(VENV)/.bench $(VENV)/.check $(VENV)/.docs $(VENV)/.test: $(VENV)/.%: $(VENV)/.build bench_harness/pyproject.toml
	@$(BIN)/python ci/install.py $*
	@touch $@

build: $(VENV)/.build ## compile in place, what changed; `rtmalloc` and `import rtmalloc` then work in .venv
	@echo "==> compiling rtmalloc, where it changed (half a minute)"
	@$(BIN)/python setup.py -q build_ext --inplace

native: build
	@$(BIN)/python -m bench_harness.native.build

variants: build ## the libraries of variants.toml into build/variants; NAME=lookup-radix: one
	$(BIN)/python ci/variants.py $(NAME)

debug: $(VENV)/.build ## a library for debuggers, with checks and Cython's lines: build/debug/rtmalloc/lib/librtmalloc.so
	RTMALLOC_C_DIR=$(DEBUG) RTMALLOC_LINE_DIRECTIVES=1 RTMALLOC_DEFINES=RT_CHECK=1 \
	RTMALLOC_CFLAGS="-Og -g3 -fno-omit-frame-pointer" \
	$(BIN)/python setup.py -q build_ext --build-lib $(DEBUG) --build-temp $(DEBUG)/objects

bench: native $(VENV)/.bench ## build, and measure the default comparison (larson) in under four minutes
	$(BIN)/python -m bench_harness peers --missing
	$(BIN)/python -m bench_harness run

plots: native $(VENV)/.bench ## measure and draw the standard set of pictures
	$(BIN)/python -m bench_harness plots

test: native $(VENV)/.test ## style, types, the whole test suite; ARGS="-k name" runs tests alone
	@ci/test $(ARGS)

test-systems: native $(VENV)/.test ## other systems: sid, free-threaded, aarch64, musl (ci/systems.py list); NAME=musl: one
	$(BIN)/python ci/systems.py test $(NAME)

sanitize: build $(VENV)/.test ## the drivers under ASan, UBSan and TSan alone
	$(BIN)/python -m pytest -q tests/core -k "(asan or tsan or sanitized) and not without_sanitizer" $(ARGS)

coverage: native $(VENV)/.test ## lines of Python that tests run: build/coverage/index.html; ARGS="tests/profile"
	@ci/coverage $(ARGS)

soak: native $(VENV)/.test ## the long stress runs
	ci/soak

regrtest: build $(VENV)/.test ## CPython's own tests with the preload library, on every interpreter here
	$(BIN)/python ci/regrtest.py

pyperformance: build $(VENV)/.test ## pyperformance on three routes
	$(BIN)/python ci/pyperformance.py

check: $(VENV)/.check ## style and types
	@ci/check

format: $(VENV)/.check ## format the Python code
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

docs: build $(VENV)/.docs ## the documentation as a site, its links checked: build/docs/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "==> build/docs/index.html; its search works behind: python3 -m http.server --directory build/docs"

wheel: $(VENV)/.build ## build a wheel as cibuildwheel is told to, install it in a clean environment, test it there
	$(BIN)/python ci/wheel.py

peers: $(VENV)/.bench ## other allocators to compare with, from PyPI and Debian into .peers: no root, no compiler
	$(BIN)/python -m bench_harness peers

clean: ## remove what was built
	rm -rf build dist rtmalloc/_core.c rtmalloc/*.so rtmalloc/lib/*.so rtmalloc/core/base/_size_table.h \
		bench_harness/native/bin
