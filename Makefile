# The two commands that matter: `make bench` (the main job) and `make test`. Both do all set-up themselves
# on a machine with only Python (with headers), gcc and make. PYTHON=python3.12 chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.tools

.PHONY: build compile variants bench test soak regrtest pyperformance check peers plots clean

# What building and measuring need.
$(STAMP): pyproject.toml ci/install.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "rtmalloc needs Python 3.10 or later, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python ci/install.py bench
	touch $@

# And what tests and checks need beside it.
$(TOOLS): $(STAMP)
	$(BIN)/python ci/install.py test
	touch $@

# Compile in place; setup.py rebuilds only what changed.
compile: $(STAMP)
	$(BIN)/python setup.py -q build_ext --inplace
	$(BIN)/python -m bench_harness.native.build

# All that a contributor needs.
build: $(TOOLS) compile

# The libraries of variants.toml, or `make variants NAME=lookup-radix` for one, into build/variants.
variants: build
	$(BIN)/python ci/variants.py $(NAME)

# With the peers that are not here yet, as far as they can be had.
bench: compile
	$(BIN)/python -m bench_harness peers --missing
	$(BIN)/python -m bench_harness run

test: build
	ci/test

soak: build
	ci/soak

check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/mypy

# CPython's own tests with the preload library, on every interpreter here; and pyperformance on three routes.
regrtest: build
	$(BIN)/python ci/regrtest.py

pyperformance: build
	$(BIN)/python ci/pyperformance.py

# Other allocators to compare with, from PyPI and Debian into .peers: neither root nor a compiler is needed.
peers: $(STAMP)
	$(BIN)/python -m bench_harness peers

plots: compile
	$(BIN)/python -m bench_harness plots

clean:
	rm -rf build rtmalloc/_core.c rtmalloc/*.so rtmalloc/lib/*.so rtmalloc/core/base/_size_table.h bench_harness/native/bin
