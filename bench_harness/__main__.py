"""`python -m bench_harness`, and the `bench-harness` command."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence

__all__ = ["main"]

EXIT_FAILED = 1


def _source() -> str:
    """What pip must be given to install the harness's packages: the distribution, or the checkout."""
    distributions = importlib.metadata.packages_distributions().get(__package__ or "bench_harness", ["."])
    return f"{distributions[0]}[bench]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; without the packages of the extra `bench` say so in one sentence.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    Returns:
        What `commands.cli.main` returns, or 1 when a package is missing.
    """
    try:
        from bench_harness.commands.cli import main as run

        return run(argv)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "bench_harness"):
            raise
        print(f"bench-harness needs {missing}: pip install '{_source()}'", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
