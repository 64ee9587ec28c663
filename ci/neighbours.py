"""The table of docs/neighbours.md, from the tests that are marked `neighbour(name, what was tried)`.

Tests of one tool and one trial are one line. `python ci/neighbours.py` collects the marked tests, runs them, and writes
the table; `--check` runs none: it fails where the page's lines are not those of the marked tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ci.made import page_parts, page_with

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "neighbours.md"
HEAD = "| neighbour | what was tried | tests | result |\n|---|---|---|---|\n"
WORST = ("failed", "skipped", "passed")


class Neighbours:
    """A plug-in of pytest that keeps marked tests only, and what became of them."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], str] = {}
        self.results: dict[str, str] = {}
        self.lines_of: dict[str, tuple[str, str]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep what is marked, and note which line it belongs to."""
        for item in items:
            mark = item.get_closest_marker("neighbour")
            if mark is not None:
                line = (str(mark.args[0]), str(mark.args[1]))
                self.lines_of[item.nodeid] = line
                file, _, rest = item.nodeid.partition("::")
                self.lines[line] = f"`{file}` {rest.partition('[')[0]}"
        items[:] = [item for item in items if item.nodeid in self.lines_of]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The worst of a test's phases is its result."""
        before = self.results.get(report.nodeid, "passed")
        self.results[report.nodeid] = min(before, report.outcome, key=WORST.index)

    def result(self, line: tuple[str, str]) -> str:
        """What the table says of a line."""
        found = [self.results[test] for test, of in self.lines_of.items() if of == line]
        return {"passed": "works", "skipped": "not tried here", "failed": "FAILS"}[min(found, key=WORST.index)]


def row_begin(line: tuple[str, str], tests: str) -> str:
    """A row without its result."""
    return f"| {line[0]} | {line[1]} | {tests} | "


def main(arguments: list[str]) -> int:
    """Check the page, or write it."""
    check = arguments == ["--check"]
    found = Neighbours()
    pytest.main(
        [
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            *(["--collect-only", "-q"] if check else []),
            str(ROOT / "tests"),
        ],
        plugins=[found],
    )
    begins = [row_begin(line, found.lines[line]) for line in sorted(found.lines)]
    if check:
        rows = page_parts(PAGE, "neighbours")[1].splitlines()[2:]
        fine = bool(rows) and len(rows) == len(begins) and all(map(str.startswith, rows, begins))
        print("as the tests are" if fine else f"{PAGE}: not as the marked tests are: run ci/neighbours.py")
        return 0 if fine else 1
    rows = [begin + found.result(line) + " |" for begin, line in zip(begins, sorted(found.lines), strict=True)]
    PAGE.write_text(page_with(PAGE, "neighbours", HEAD + "\n".join(rows) + "\n"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
