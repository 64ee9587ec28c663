"""The harness's workloads with a known leak: what the profile says against what they know themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rtmalloc.observe import heap_reader
from rtmalloc.profile import HeapProfile, load_heap
from tests.python.programs import LIBRARY, SOURCE, clean_environment

NATIVE = SOURCE / "bench_harness" / "native" / "bin" / "leak"
PLACES = ("keeps_most", "keeps_some", "keeps_few")
INTERVAL = 2048


def profile_of(command: list[str | Path], directory: Path) -> tuple[dict[str, Any], HeapProfile]:
    """What a cell prints about itself, and the profile that it is asked for while it waits at its gate."""
    environment = {
        "LD_PRELOAD": str(LIBRARY),
        "RTMALLOC_HEAP_PROFILE": str(directory),
        "RTMALLOC_OPTIONS": f"heap_profile_signal=61,heap_profile_interval={INTERVAL}",
    }
    with subprocess.Popen(
        [*command, "gate=1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(environment),
    ) as cell:
        assert cell.stdout is not None
        said = json.loads(cell.stdout.readline())
        profile = load_heap(heap_reader.ask(cell.pid, timeout=60))
        cell.communicate("")
    return said["metrics"], profile


def check(metrics: dict[str, float], live: dict[str, float], pinned: float) -> None:
    """Shares within five points, live bytes as a whole within a tenth, pinned pages within a tenth."""
    truth = {name: metrics[f"{name}_bytes"] for name in PLACES}
    for name in PLACES:
        assert abs(live[name] / sum(live.values()) - truth[name] / sum(truth.values())) < 0.05, (live, truth)
    assert sum(live.values()) == pytest.approx(sum(truth.values()), rel=0.1)
    free = metrics["page_bound_bytes"] - sum(truth.values())
    assert pinned == pytest.approx(free, rel=0.1), (pinned, free)


def test_python(tmp_path: Path) -> None:
    script = SOURCE / "bench_harness" / "workloads" / "python" / "leaks.py"
    metrics, profile = profile_of(
        [sys.executable, script, "mib=2", "idle=1", "call=rtmalloc.observe.thread_names:keep"], tmp_path / "made"
    )
    assert profile.python
    sites = {site.frames[0].function: site for site in profile.by_line()}
    live = {name: sites[name].live_bytes for name in PLACES}
    check(metrics, live, sum(sites[name].pinned_bytes for name in PLACES))


def test_native(tmp_path: Path) -> None:
    if not NATIVE.exists():
        pytest.skip("needs `python -m bench_harness.native.build`")
    metrics, profile = profile_of([NATIVE, "mib=2", "idle=1"], tmp_path / "made")
    # The cell is stripped: its places are the three call sites that hold most, in this order.
    most, some, few = [site for site in profile.by_line() if site.frames[0].file.endswith("/leak")][:3]
    live = dict(zip(PLACES, (site.live_bytes for site in (most, some, few)), strict=True))
    check(metrics, live, sum(site.pinned_bytes for site in (most, some, few)))
