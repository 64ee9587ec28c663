"""What a profile tells, and what a table of size classes wastes on it: as numbers, as a table, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rtmalloc.profile import optimise
from rtmalloc.profile.recording import Profile, ProfileError
from rtmalloc.size_table import GRANULE


@dataclass(frozen=True)
class ClassReport:
    """One class of the table."""

    size: int
    """Bytes of a block."""
    samples: int
    """Requests that were followed."""
    requests: int
    """Requests of the program, estimated."""
    live_bytes: float
    """Bytes asked for at an average moment; the sum over all requests where lives were not recorded."""
    waste: float
    """Bytes of their blocks, and of the ends of their spans, beyond that."""
    mean_life_ms: float
    """Mean life of a block, as far as it was seen, in milliseconds."""


@dataclass(frozen=True)
class Report:
    """A profile under a table."""

    profile: Profile
    table: str
    """Where the table comes from."""
    by_life: bool
    """Whether bytes are those of an average moment."""
    asked: float
    """Bytes asked for in small requests."""
    waste: float
    """Bytes wasted on them."""
    granule: float
    """Bytes that even a class for each 16 bytes would waste."""
    classes: tuple[ClassReport, ...]
    """Those that anybody asked for, ascending."""
    curve: tuple[tuple[int, float], ...]
    """Waste by requested size: the end of each step of 16 bytes, and what it wastes."""


def examine(profile: Profile, sizes: Sequence[int], name: str, min_objects: int) -> Report:
    """What a table of ``sizes``, called ``name``, makes of a profile.

    Raises:
        ProfileError: when the profile holds no small request.
    """
    wanted = optimise.demand(profile, sizes[-1])
    found, curve = [], []
    for smaller, size in pairwise([0, *sizes]):
        inside = [b for b in profile.small if smaller < b.size <= size]
        if not inside:
            continue
        block = optimise.footprint(size, min_objects)
        wastes = []
        for b in inside:
            step = b.size // GRANULE
            wastes.append((block * wanted.objects[step] - wanted.bytes[step]) / wanted.unit)
        curve += list(zip((b.size for b in inside), wastes, strict=True))
        requests = sum(b.requests for b in inside)
        found.append(
            ClassReport(
                size=size,
                samples=sum(b.samples for b in inside),
                requests=requests,
                live_bytes=sum(wanted.bytes[b.size // GRANULE] for b in inside) / wanted.unit,
                waste=sum(wastes),
                mean_life_ms=sum(b.object_ms for b in inside) / requests if requests else 0.0,
            )
        )
    return Report(
        profile=profile,
        table=name,
        by_life=wanted.by_life,
        asked=optimise.asked(wanted),
        waste=optimise.waste(sizes, wanted, min_objects),
        granule=optimise.waste(range(GRANULE, sizes[-1] + 1, GRANULE), wanted, min_objects),
        classes=tuple(found),
        curve=tuple(curve),
    )


def as_dict(report: Report) -> dict[str, Any]:
    """The report for JSON; the profile itself is a file already."""
    fields = asdict(report)
    del fields["profile"]
    return fields


_HEAD = ("size", "requests", "samples", "life ms", "asked KiB", "waste KiB", "of block")


def _rows(report: Report, count: int) -> list[tuple[str, ...]]:
    """The classes that waste most, in ascending order, as text."""
    worst = sorted(sorted(report.classes, key=lambda c: -c.waste)[:count], key=lambda c: c.size)
    return [
        (
            str(c.size),
            str(c.requests),
            str(c.samples),
            f"{c.mean_life_ms:.1f}",
            f"{c.live_bytes / 1024:.1f}",
            f"{c.waste / 1024:.1f}",
            f"{c.waste / (c.live_bytes + c.waste):.1%}" if c.live_bytes + c.waste > 0 else "-",
        )
        for c in worst
    ]


def _summary(report: Report) -> list[str]:
    """The whole in three lines."""
    p = report.profile
    programs = ", ".join(sorted(p.programs)) or "unknown programs"
    when = "at an average moment" if report.by_life else "over all requests (no lives were recorded)"
    share = report.waste / report.asked if report.asked else 0.0
    return [
        f"{p.processes} processes of {programs}, {p.milliseconds / 1000:.1f} s; "
        f"{sum(b.samples for b in p.small)} samples for {sum(b.requests for b in p.small)} small requests, "
        f"{sum(b.requests for b in p.large)} large requests of {sum(b.bytes for b in p.large) / 1024:.0f} KiB",
        f"{report.asked / 1024:.1f} KiB asked for {when}, {report.waste / 1024:.1f} KiB wasted ({share:.2%}) by "
        f"{report.table}",
        f"of that {report.granule / 1024:.1f} KiB because blocks are multiples of 16 bytes",
    ]


def show(report: Report, rows: int) -> None:
    """Print the report: with rich where it is installed, else as plain text."""
    body = _rows(report, rows)
    title = f"the {len(body)} classes that waste most"
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(row[i]) for row in [_HEAD, *body]) for i in range(len(_HEAD))]
        print("\n".join(_summary(report)), f"\n{title}:")
        for row in [_HEAD, *body]:
            print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
        return
    table = Table(title=title)
    for name in _HEAD:
        table.add_column(name, justify="right")
    for row in body:
        table.add_row(*row)
    console = Console()
    for line in _summary(report):
        console.print(line, markup=False, highlight=False)
    console.print(table)


def draw(report: Report, path: Path) -> None:
    """Draw waste by requested size into a file.

    Raises:
        ProfileError: without matplotlib, or for a kind of file that it does not know.
    """
    try:
        import matplotlib
    except ImportError:
        raise ProfileError("a picture needs matplotlib: `pip install 'rtmalloc[plots]'`") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    axes.stem([size for size, _ in report.curve], [w / 1024 for _, w in report.curve], markerfmt=" ", basefmt=" ")
    for c in report.classes:
        axes.axvline(c.size, color="0.85", linewidth=0.6, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("requested size, bytes (grey: classes in use)")
    axes.set_ylabel("wasted at an average moment, KiB" if report.by_life else "wasted over all requests, KiB")
    axes.set_title(f"{report.waste / 1024:.1f} KiB wasted by {report.table}", fontsize=10)
    try:
        figure.savefig(path)
    except ValueError as error:
        raise ProfileError(f"{path}: {error}") from None
    finally:
        pyplot.close(figure)
