"""The workload fleet asks for the sizes, and keeps blocks for the times, that were published."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench_harness.native.build import NATIVE
from bench_harness.tracing.files import make_plain
from bench_harness.tracing.recording import _run
from tests.bench_harness.tracing_tools import decode

MIB = 1 << 20
NOON = "day=1000000000000"  # a day so long that the first thread stays at noon, its full load


def figures(profile: str) -> list[tuple[int, float, float]]:
    text = (NATIVE / "fleet_figures.h").read_text()
    (body,) = re.findall(rf"fleet_{profile}\[\] = \{{(.*?)\n\}};", text, re.S)
    return [(int(s), float(r), float(n)) for s, r, n in re.findall(r"\{(\d+), ([\d.e+-]+), ([\d.e+-]+)\}", body)]


def run(path: Path, *arguments: str) -> dict[str, Any]:
    said = subprocess.run([str(path), *arguments], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    report: dict[str, Any] = json.loads(said.stdout)
    return report


def test_the_figures_are_whole() -> None:
    for profile in ("5", "1", "2", "8"):
        rows = figures(profile)
        sizes = [size for size, _, _ in rows]
        assert len(rows) > 800 and sizes == sorted(set(sizes)) and sizes[-1] <= 32 * MIB
        assert all(rate > 0 and live > 0 for _, rate, live in rows)


@pytest.mark.parametrize("profile", ["5", "1", "2", "8"])
def test_a_thread_holds_what_it_should_at_full_load(cells: dict[str, Path], profile: str) -> None:
    """Rates and lives together: were either wrong, births and deaths would drift apart from the begin's live set."""
    mib = 128 if profile == "8" else 16  # rare large blocks make it vary, most in the profile of large ones
    seen = run(cells["fleet"], f"profile={profile}", f"mib={mib}", "ops=1500000", NOON)
    assert seen["live_bytes"] == pytest.approx(mib * MIB, rel=0.35)


def test_sizes_and_lives_are_those_of_the_figures(cells: dict[str, Path], tmp_path: Path) -> None:
    """Seen through the recorder: shares of the calls, and of what is live at the end, size by size."""
    assert _run([str(cells["fleet"]), "mib=8", "ops=300000", NOON], tmp_path) == 0
    plain = tmp_path / "fleet.plain"
    make_plain(plain, {}, [str(path) for path in tmp_path.glob("*.raw")])
    made: Counter[int] = Counter()
    live: dict[tuple[int, bool, int], int] = {}
    first = round(8 * MIB / sum(s * n for s, _, n in figures("5")) * sum(n for _, _, n in figures("5")))
    operations = [op for op in decode(plain).operations if op.kind in ("malloc", "free")]
    for number, op in enumerate(operations):
        key = (-1 if op.slot[0] else op.thread, *op.slot)
        if op.kind == "free":
            live.pop(key)
            continue
        live[key] = op.size
        made[op.size] += number > first
    rows = figures("5")
    rates, lives = sum(r for _, r, _ in rows), sum(n for _, _, n in rows)
    alive = Counter(live.values())
    frequent = sorted(rows, key=lambda row: -row[1])[:12]
    for size, rate, _ in frequent:
        assert made[size] / made.total() == pytest.approx(rate / rates, rel=0.1)
    usual = sorted(rows, key=lambda row: -row[2])[:12]
    for size, _, share in usual:
        assert alive[size] / alive.total() == pytest.approx(share / lives, rel=0.15)


def test_the_load_follows_the_day(cells: dict[str, Path]) -> None:
    """Half a day later the first thread does a tenth of the work; its live set falls with it."""
    day = 4_000_000
    noon = run(cells["fleet"], "mib=8", f"day={day}", "ops=400000")
    midnight = run(cells["fleet"], "mib=8", f"day={day}", "ops=2250000")
    assert midnight["live_bytes"] < 0.75 * noon["live_bytes"]
    assert noon["user_seconds"] + noon["system_seconds"] > 0
    rate = [r["operations"] / r["seconds"] for r in (noon, midnight)]
    assert rate[1] < rate[0], "a server that has less to do is idle in between"
