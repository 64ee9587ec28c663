"""Results shown: tables on the terminal, pictures into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench_harness.measuring.store import Results
from bench_harness.reporting.details import details_of
from bench_harness.reporting.table import print_details, print_groups, print_means
from bench_harness.verdicts import analysis

__all__ = ["draw_results", "show_results"]


def show_results(results: Results, base: str | None, console: Console) -> None:
    """Print all tables of one machine's results, and a warning when other load disturbed them."""
    groups = analysis.analyse(results, analysis.choose_base(results, base))
    print_groups(console, groups)
    print_details(console, [(d.title, d.headings, d.lines) for d in details_of(groups)])
    print_means(console, groups)
    share = analysis.disturbed_share(results)
    if share > analysis.BUSY_SHARE:
        console.print(
            f"{share:.0%} of the cells were disturbed by other load: the numbers tell of that load too; "
            "CPU ns/op suffers least, a quiet hour cures it",
            soft_wrap=True,
        )


def draw_results(
    results: Results, base: str | None, out: Path, console: Console, only: Sequence[str] | None = None
) -> None:
    """Draw the pictures of one machine's results into `out`, and for telephones into `out/phone`.

    Args:
        results: of one machine type.
        base: contender that ratios refer to.
        out: folder, made if it is not there.
        console: told the files.
        only: names to which the set is limited.
    """
    # matplotlib takes a second to import; most commands do without
    from bench_harness.reporting.pictures import NARROW, draw

    groups = analysis.analyse(results, analysis.choose_base(results, base))
    files = draw(groups, out, only)
    draw(groups, out / "phone", only, ("png",), NARROW)
    shown = ", ".join(str(path) for path in files if path.suffix == ".png")
    console.print(f"pictures: {shown or 'none, no cell ran'}", markup=False, soft_wrap=True)
