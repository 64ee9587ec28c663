"""report.html: one self-contained file, the verdict first, readable on a telephone.

Pictures are embedded as data; no script, no font, no style sheet is fetched. All text from the results passes
through `html.escape`.
"""

from __future__ import annotations

import base64
import html
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench_harness.analysis import GroupRows, Row, geometric_means
from bench_harness.details import details_of
from bench_harness.pictures import draw
from bench_harness.statistics import ALPHA, FEWEST_ROUNDS
from bench_harness.store import Results
from bench_harness.table import row_figures, si
from bench_harness.verdict import sentences

__all__ = ["render", "write_report"]

_STYLE = """
:root { color-scheme: light; --ink: #222; --soft: #666; --line: #ddd; --band: #f6f6f4; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color:
var(--ink); } h1 { font-size: 1.5rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.verdict { background: var(--band); border-left: 4px solid #009E73; padding: .6rem 1rem .6rem 2rem; margin:
1rem 0; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line);
} th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tr.probe td { color: var(--soft); }
td.failed { color: #a03000; text-align: left; white-space: normal; }
figure { margin: 1rem 0; overflow-x: auto; }
img { max-width: 100%; height: auto; display: block; }
@media (max-width: 40rem) { .wide img { max-width: none; width: 44rem; } }
pre { background: var(--band); padding: .8rem; overflow-x: auto; font-size: .85rem; }
.note { color: var(--soft); font-size: .85rem; }
"""

_PNG_SIZE_AT = (16, 20)  # width and height in a PNG's first chunk, 4 bytes each
_WIDE = 1.25  # wider pictures scroll sideways on a telephone instead of shrinking to nothing

_HEADINGS = (
    "allocator",
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
        cell = f'<td class="failed" colspan="{len(_HEADINGS) - 1}">failed: {_text(reason)}</td>'
        return f"<tr><td>{_text(name)}</td>{cell}</tr>"
    speed = row.throughput
    cells = (
        name,
        si(speed.median) if speed else "-",
        si(speed.maximum) if speed else "-",
        *row_figures(row),
        f"{len(row.cells)}" + (f", {len(row.failures)} failed" if row.failures else ""),
    )
    style = ' class="probe"' if row.is_probe else ""
    return f"<tr{style}>" + "".join(f"<td>{_text(c)}</td>" for c in cells) + "</tr>"


def _pictures(groups: Sequence[GroupRows]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for path in draw(groups, Path(folder), formats=("png",)):
            data = path.read_bytes()
            width, height = (int.from_bytes(data[at : at + 4], "big") for at in _PNG_SIZE_AT)
            kind = ' class="wide"' if width > height * _WIDE else ""
            text = base64.b64encode(data).decode()
            parts.append(f'<figure{kind}><img alt="{_text(path.stem)}" src="data:image/png;base64,{text}"></figure>')
    return "".join(parts)


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


def _allocators(results: Results) -> str:
    lines = (
        f"<tr><td>{_text(name)}</td><td>{_text(a['version'])}</td><td>{_text(a['path'] or '-')}</td>"
        f"<td>{_text(a['sha256'][:16] or '-')}</td><td>{_text(a['environment'] or '-')}</td></tr>"
        for name, a in results.header["allocators"].items()
    )
    return _table(("allocator", "version", "path", "SHA-256", "environment"), lines)


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
<h2>Tables</h2>{_means(groups)}{tables}{_details(groups)}
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
