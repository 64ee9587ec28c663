"""A page for a project's documentation, as Markdown: one summary table per result file; `report` has every cell."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Sequence

from bench_harness.measuring.store import Results
from bench_harness.reporting.numbers import describe_verdict, mebibytes, si
from bench_harness.statistics import ALPHA, FEWEST_ROUNDS, Comparison
from bench_harness.verdicts.analysis import GroupRows, Row, disturbed_share, geometric_means

__all__ = ["Section", "markdown_table", "render_page"]

Section = tuple[str, Results, Sequence[GroupRows]]
"""A heading, the results of one machine type, and what was made of them."""

_HEADINGS = ("workload", "threads", "base", "op/s", "peak MiB", "fastest other", "speed ratio", "smallest other")


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table as Markdown, without alignment."""
    rows = [headings, ["---"] * len(headings), *lines]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _prose(text: str, indent: str = "") -> str:
    """A paragraph, or an item whose further lines are indented, in lines of a page's width."""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _command(words: Sequence[str]) -> str:
    """A command line, broken before options."""
    lines = textwrap.wrap(
        shlex.join(words).replace(" --", "\0--").replace(" ", "\1").replace("\0", " "),
        96,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return " \\\n    ".join(lines).replace("\1", " ")


def _best(rows: Sequence[Row], of: Callable[[Row], Comparison | None], most: bool) -> tuple[str, str]:
    """The row with the best ratio to the base, and that ratio."""
    found = [(c.ratio, row.contender, c) for row in rows if (c := of(row)) is not None]
    if not found:
        return "-", "-"
    _, name, comparison = (max if most else min)(found, key=lambda one: one[:2])
    return name, describe_verdict(comparison)


def _line(group: GroupRows) -> list[str]:
    base = group.row(group.base)
    speed = base.throughput if base else None
    size = base.peak_rss if base else None
    return [
        group.label,
        str(group.threads),
        group.base,
        si(speed.median) if speed else "failed",
        mebibytes(size.median) if size else "failed",
        *_best(group.competitors, lambda row: row.throughput_ratio, most=True),
        *_best(group.competitors, lambda row: row.rss_ratio, most=False),
    ]


def _machine(results: Results) -> str:
    (machine,) = results.machines.values()
    told = {name: value for name, value in machine.items() if name not in ("id", "hostname", "compiler", "page_bytes")}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _section(title: str, results: Results, groups: Sequence[GroupRows]) -> list[str]:
    header = results.header
    means = [
        [m.contender, m.base, f"{m.throughput:.3f}", f"{m.peak_rss:.3f}", str(m.groups)]
        for m in geometric_means(groups)
    ]
    failed = {
        f"{row.contender} failed in {g.title}: {row.failures[0]}" for g in groups for row in g.rows if row.failures
    }
    rounds = min((g.rounds for g in groups), default=0)
    return [
        f"## {title}",
        "",
        "```sh",
        _command(header["command"]),
        "```",
        "",
        f"{header['created'][:10]}, {rounds} rounds, {disturbed_share(results):.0%} of the cells disturbed.",
        "",
        *markdown_table((*_HEADINGS, "RSS ratio"), [_line(group) for group in groups]),
        "",
        *(["Geometric means of the ratios:", ""] if means else ["No group in which every allocator ran.", ""]),
        *([*markdown_table(("allocator", "base", "speed", "peak RSS", "groups"), means), ""] if means else []),
        *(f"- {text}" for text in sorted(failed)),
        *([""] if failed else []),
    ]


def _sources(sections: Sequence[Section]) -> list[str]:
    """The machines and versions of all sections, each told once."""
    machines = dict.fromkeys(_machine(results) for _, results, _ in sections)
    versions = dict.fromkeys(
        f"{row.contender} ({row.version})"
        for _, _, groups in sections
        for g in groups
        for row in g.competitors
        if row.version
    )
    return [
        "## Machine and versions",
        "",
        *(_prose(f"- {machine}", "  ") for machine in machines),
        _prose(f"- {', '.join(versions) or 'versions unknown'}", "  "),
        "",
    ]


def render_page(title: str, sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: its heading.
        sections: one for each result file, of one machine type each.
    """
    return "\n".join(
        [
            f"# {title}",
            "",
            _prose(
                "Made by `bench-harness page`. Each line has the base's own median, then the other allocator that was "
                "the fastest and the one with the smallest peak RSS, as ratios to the base with 95 % intervals: below "
                "1 means slower, or smaller."
            ),
            "",
            _prose(
                f"`=` is no significant difference (signed-rank test, paired rounds, {ALPHA:.0%} false discoveries), "
                f"`?` fewer than {FEWEST_ROUNDS} rounds. `bench-harness report` shows every cell of a result file."
            ),
            "",
            *(line for section in sections for line in _section(*section)),
            *_sources(sections),
        ]
    )
