"""docs/harness.md shows what is really there."""

from __future__ import annotations

import re

from bench_harness.commands.arguments import build_parser
from bench_harness.measuring.catalogue import Workload
from bench_harness.native.build import WORKLOADS
from ci.made import page_parts
from ci.workloads import PAGE, table

TEXT = PAGE.read_text()


def test_the_example_workload_is_shown() -> None:
    # It is linked, not copied; a workload is one file of at most 60 lines.
    assert "(../bench_harness/workloads/churn.pyx)" in TEXT
    assert len((WORKLOADS / "churn.pyx").read_text().splitlines()) <= 60


def test_every_workload_is_described(workloads: dict[str, Workload]) -> None:
    assert [name for name in workloads if f"`{name}`" not in TEXT] == []
    assert table(workloads.values()) == page_parts(PAGE, "workloads")[1], "python ci/workloads.py"


def test_every_command_line_in_it_is_valid() -> None:
    lines = re.findall(r"^python -m bench_harness (.*?)(?: +#.*)?$", TEXT, re.M)
    assert len(lines) >= 5
    for line in lines:
        build_parser().parse_args(line.split())
