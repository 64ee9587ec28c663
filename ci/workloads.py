"""The laboratory's workloads as a table in docs/harness.md, made of what each one says of itself.

python ci/workloads.py            write it (`make native` before)
python ci/workloads.py --check    say whether it is the present one
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench_harness.measuring.catalogue import Workload, find_workloads
from ci.made import page_with

PAGE = Path(__file__).resolve().parents[1] / "docs" / "harness.md"


def table(workloads: Iterable[Workload]) -> str:
    """The table, the native ones first."""
    order = ("native", "python", "program")
    found = sorted(workloads, key=lambda one: (order.index(one.kind), one.name))
    rows = [f"| `{one.name}` | {one.kind} | {one.description} |\n" for one in found]
    return "\n| name | kind | what it asks |\n|---|---|---|\n" + "".join(rows) + "\n"


def main(check: bool) -> int:
    """Write the table, or tell that it is old."""
    now = page_with(PAGE, "workloads", table(find_workloads().values()))
    if not check:
        PAGE.write_text(now, encoding="utf-8")
    elif now != PAGE.read_text(encoding="utf-8"):
        print("docs/harness.md is old: python ci/workloads.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
