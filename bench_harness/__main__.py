"""`python -m bench_harness`: the same as the `bench-harness` command."""

from __future__ import annotations

import sys

from bench_harness.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
