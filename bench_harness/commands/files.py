"""Commands on result files that are there already: `plot`, `compare`, `report`, `page` and `ratio`."""

from __future__ import annotations

import argparse

from rich.console import Console

from bench_harness.commands.show import draw_results, show_results
from bench_harness.measuring import store
from bench_harness.measuring.store import Results
from bench_harness.reporting.changes import print_changes
from bench_harness.reporting.page import Section, render_page
from bench_harness.verdicts import analysis
from bench_harness.verdicts.changes import changes

__all__ = ["compare", "page", "plot", "ratio", "report"]


def _load(arguments: argparse.Namespace) -> Results:
    files = arguments.file if isinstance(arguments.file, list) else [arguments.file]
    return analysis.one_machine(store.merge([store.load(path) for path in files]), arguments.machine)


def plot(arguments: argparse.Namespace, console: Console) -> int:
    """Draw the pictures of result files."""
    draw_results(_load(arguments), arguments.base, arguments.out, console)
    return 0


def compare(arguments: argparse.Namespace, console: Console) -> int:
    """Print what changed between two result files."""
    before, after = (
        analysis.one_machine(store.load(path), arguments.machine) for path in (arguments.before, arguments.after)
    )
    print_changes(console, changes(before, after))
    return 0


def report(arguments: argparse.Namespace, console: Console) -> int:
    """Write result files as one HTML page."""
    from bench_harness.reporting.html import write_report  # it draws, and matplotlib takes a second to import

    results = _load(arguments)
    groups = analysis.analyse(results, analysis.choose_base(results, arguments.base))
    write_report(results, groups, arguments.out)
    console.print(f"report: {arguments.out}", markup=False)
    return 0


def page(arguments: argparse.Namespace, console: Console) -> int:
    """Write result files as one Markdown page, a section each."""
    sections: list[Section] = []
    for path in arguments.file:
        results = analysis.one_machine(store.load(path), arguments.machine)
        groups = analysis.analyse(results, analysis.choose_base(results, arguments.base))
        sections.append((path.stem, results, groups))
    arguments.out.write_text(render_page(arguments.title, sections), encoding="utf-8")
    console.print(f"page: {arguments.out}", markup=False, soft_wrap=True)
    return 0


def ratio(arguments: argparse.Namespace, console: Console) -> int:
    """Print the tables of a result file with ratios to another base."""
    show_results(_load(arguments), arguments.base, console)
    return 0
