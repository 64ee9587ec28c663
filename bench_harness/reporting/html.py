"""report.html: one self-contained file, the verdict first, readable on a telephone.

Pictures are embedded as data; no script, no font, no style sheet is fetched. All text from the results passes
through `html.escape`.
"""

from __future__ import annotations

import base64
import html
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench_harness.measuring.store import Results
from bench_harness.peers.declaration import DEFAULT
from bench_harness.reporting.details import details_of
from bench_harness.reporting.numbers import si
from bench_harness.reporting.pictures import NARROW, WIDE, draw
from bench_harness.reporting.table import row_figures
from bench_harness.statistics import ALPHA, FEWEST_ROUNDS
from bench_harness.verdicts.analysis import GroupRows, Row, geometric_means
from bench_harness.verdicts.sentences import sentences

__all__ = ["render", "write_report"]

_STYLE = """
:root { color-scheme: light; --ink: #222; --soft: #666; --line: #ddd; --band: #f6f6f4; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color:
var(--ink); } h1 { font-size: 1.5rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.verdict { background: var(--band); border-left: 4px solid #009E73; padding: .6rem 1rem .6rem 2rem; margin:
1rem 0; }
/* The shadow at an edge says that there is more behind it; it goes away where the table ends. */
.scroll { overflow-x: auto; background:
  linear-gradient(to right, #fff 30%, #fff0) left / 2.5rem 100%,
  linear-gradient(to left, #fff 30%, #fff0) right / 2.5rem 100%,
  linear-gradient(to right, #0003, #0000) left / 1rem 100%,
  linear-gradient(to left, #0003, #0000) right / 1rem 100%;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line);
} th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tr.probe td { color: var(--soft); }
td.failed { color: #a03000; text-align: left; white-space: normal; }
figure { margin: 1rem 0; }
img { width: 100%; height: auto; display: block; }
.swipe { display: none; color: var(--soft); font-size: .85rem; margin: 0; }
@media (max-width: 50rem) { img { max-width: 30rem; } .swipe { display: block; } }
pre { background: var(--band); padding: .8rem; overflow-x: auto; font-size: .85rem; }
.note { color: var(--soft); font-size: .85rem; }
"""

_PHONE = "(max-width: 50rem)"  # up to here the narrow pictures are shown, as the style sheet says

_HEADINGS = (
    "allocator",
    "version",
    "op/s, median",
    "op/s, best",
    "speed ratio [95 %]",
    "peak MiB",
    "RSS ratio [95 %]",
    "RSS / live",
    "CPU ns/op",
    "user s",
    "system s",
    "faults",
    "cells",
)


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(headings: Sequence[str], lines: Iterable[str]) -> str:
    head = "".join(f"<th>{_text(h)}</th>" for h in headings)
    body = "".join(lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _line(row: Row) -> str:
    name = "(loop overhead)" if row.is_probe else row.contender
    if row.peak_rss is None:
        reason = row.failures[0] if row.failures else "did not run"
        cell = f'<td class="failed" colspan="{len(_HEADINGS) - 2}">failed: {_text(reason)}</td>'
        return f"<tr><td>{_text(name)}</td><td>{_text(row.version)}</td>{cell}</tr>"
    speed = row.throughput
    cells = (
        name,
        row.version,
        si(speed.median) if speed else "-",
        si(speed.maximum) if speed else "-",
        *row_figures(row),
        f"{len(row.cells)}" + (f", {len(row.failures)} failed" if row.failures else ""),
    )
    style = ' class="probe"' if row.is_probe else ""
    return f"<tr{style}>" + "".join(f"<td>{_text(c)}</td>" for c in cells) + "</tr>"


def _data(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _pictures(groups: Sequence[GroupRows]) -> str:
    """Every picture twice: as wide as a page, and with its panels below each other for a telephone."""
    with tempfile.TemporaryDirectory() as folder:
        wide, narrow = (
            draw(groups, Path(folder) / name, formats=("png",), width=width)
            for name, width in (("wide", WIDE), ("narrow", NARROW))
        )
        return "".join(
            f'<figure><picture><source media="{_PHONE}" srcset="{_data(small)}">'
            f'<img alt="{_text(large.stem)}" src="{_data(large)}"></picture></figure>'
            for large, small in zip(wide, narrow, strict=True)
        )


def _means(groups: Sequence[GroupRows]) -> str:
    means = geometric_means(groups)
    if not means:
        return ""
    lines = (
        f"<tr><td>{_text(m.contender)}</td><td>{_text(m.base)}</td><td>{m.throughput:.3f}</td>"
        f"<td>{m.peak_rss:.3f}</td><td>{m.groups}</td></tr>"
        for m in means
    )
    return "<h3>Geometric means of the ratios</h3>" + _table(
        ("allocator", "base", "throughput", "peak RSS", "cells"), lines
    )


def _details(groups: Sequence[GroupRows]) -> str:
    parts = []
    for d in details_of(groups):
        lines = ("<tr>" + "".join(f"<td>{_text(text)}</td>" for text in line) + "</tr>" for line in d.lines)
        parts.append(f"<h3>{_text(d.title)}</h3>" + _table(d.headings, lines))
    return "".join(parts)


def _machines(results: Results) -> str:
    blocks = []
    for machine in results.machines.values():
        lines = (f"<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>" for k, v in machine.items())
        blocks.append(_table(("machine", ""), lines))
    return "".join(blocks)


def _assignments(environment: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in environment.items()) or "-"


def _allocators(results: Results) -> str:
    lines = (
        f"<tr><td>{_text(name)}</td><td>{_text(a.get('preset', DEFAULT))}</td><td>{_text(a['version'])}</td>"
        f"<td>{_text(a['path'] or '-')}</td>"
        f"<td>{_text(a['sha256'][:16] or '-')}</td><td>{_text(_assignments(a['environment']))}</td></tr>"
        for name, a in results.header["allocators"].items()
    )
    return _table(("allocator", "preset", "version", "path", "SHA-256", "environment"), lines)


def render(results: Results, groups: Sequence[GroupRows]) -> str:
    """The report as one HTML text.

    Args:
        results: of one machine type.
        groups: the same results, analysed.
    """
    verdict = "".join(f"<li>{_text(s)}</li>" for s in sentences(groups))
    tables = "".join(
        f"<h3>{_text(g.title)}</h3><p class='note'>one operation: {_text(g.operation)}; "
        f"ratios to {_text(g.base)}</p>" + _table(_HEADINGS, (_line(row) for row in g.rows))
        for g in groups
    )
    settings = ", ".join(f"{k} {v}" for k, v in results.header["settings"].items())
    disturbed = sum(c["disturbance"]["disturbed"] for c in results.cells if c["status"] == "ok")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,
initial-scale=1"> <title>bench_harness report</title><style>{_STYLE}</style></head><body>
<h1>Memory allocators compared</h1>
<p class="note">{_text(results.header["created"])}; {len(results.cells)} cells, each a process of its own,
of which {disturbed} were disturbed by other load</p>
<ul class="verdict">{verdict}</ul>
<p class="note">A difference is called significant by the signed-rank test over paired, interleaved rounds,
with a false discovery rate of {ALPHA:.0%} over the table; it needs {FEWEST_ROUNDS} rounds. In tables "="
means no significant difference and "?" too few rounds.</p>
<h2>Pictures</h2>{_pictures(groups)}
<h2>Tables</h2><p class="swipe">Tables go on to the right: swipe them.</p>{_means(groups)}{tables}{_details(groups)}
<h2>Machine</h2>{_machines(results)}
<h2>Allocators</h2>{_allocators(results)}
<h2>To repeat this</h2><pre>{_text(shlex.join(results.header["command"]))}</pre>
<p class="note">{_text(settings)}</p>
</body></html>
"""


def write_report(results: Results, groups: Sequence[GroupRows], path: Path) -> None:
    """Write the report to `path`, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(results, groups), encoding="utf-8")
