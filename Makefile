# The two commands that matter: `make bench` (the main job) and `make test`. Both do all set-up themselves
# on a machine with only Python (with headers), gcc and make. PYTHON=python3.12 chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: build variants bench test soak regrtest pyperformance check peers plots clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "rtmalloc needs Python 3.10 or later, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python ci/install.py
	touch $@

# Compile in place; setup.py rebuilds only what changed.
build: $(STAMP)
	$(BIN)/python setup.py -q build_ext --inplace
	$(BIN)/python -m bench_harness.native.build

# The libraries of variants.toml, or `make variants NAME=lookup-radix` for one, into build/variants.
variants: build
	$(BIN)/python ci/variants.py $(NAME)

bench: build
	$(BIN)/python -m bench_harness run

test: build
	ci/test

soak: build
	ci/soak

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

# CPython's own tests with the preload library, on every interpreter here; and pyperformance on three routes.
regrtest: build
	$(BIN)/python ci/regrtest.py

pyperformance: build
	$(BIN)/python ci/pyperformance.py

# Other allocators to compare with: Debian's packages.
peers:
	apt-get install -y --no-install-recommends libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4

plots: build
	$(BIN)/python -m bench_harness plots

clean:
	rm -rf build rtmalloc/_core.c rtmalloc/*.so rtmalloc/lib/*.so rtmalloc/core/base/_size_table.h bench_harness/native/bin
