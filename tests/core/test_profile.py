"""The profile of a process against programs whose requests are known exactly (tests/driver/profile.c)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from rtmalloc.profile import Profile, load

from .building import ASAN, PLAIN, PRELOAD, STORM, TSAN, Flavour, driver, run
from .test_stress import stress

SIGMAS = 6
"""An estimate may be off by so many standard deviations: of all assertions here together, once in a million runs."""


@dataclass(frozen=True)
class Count:
    """What a program did with one size."""

    requests: int
    life: int
    squares: int


def recorded(directory: Path, mode: str, operations: int, every: int) -> list[tuple[dict[int, Count], Profile]]:
    """Run a mode of the driver; per process what it did, and the profile it wrote."""
    environment = {
        "LD_PRELOAD": str(PRELOAD),
        "RTMALLOC_PROFILE": str(directory / "made"),
        "RTMALLOC_OPTIONS": f"profile_every={every}",
    }
    done = run([driver("profile", PLAIN), mode, str(operations)], environment=environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found = []
    for line in done.stdout.splitlines():
        pid, *counts = line.split()
        (path,) = (directory / "made").glob(f"rtmalloc-{pid}-*.json")
        rows = [[int(n) for n in count.split(":")] for count in counts]
        found.append(({size: Count(*rest) for size, *rest in rows}, load(path)))
    assert len(list((directory / "made").iterdir())) == len(found)
    return found


def check(truth: dict[int, Count], profile: Profile, every: int) -> None:
    """Requests, bytes and lives of each bucket are those of the program, within the sampling error."""
    assert (
        profile.every == every
        and profile.processes == 1
        and profile.programs == {driver("profile", PLAIN).name[:15]: 1}
    )
    estimates = {bucket.size: bucket for bucket in profile.small}
    buckets = {(size + 15) // 16 * 16 for size in truth}
    for step in buckets:
        inside = {size: count for size, count in truth.items() if (size + 15) // 16 * 16 == step}
        requests = sum(count.requests for count in inside.values())
        if requests == 0:
            continue
        found = estimates.get(step)
        error = SIGMAS * math.sqrt(requests * every) + every
        assert abs((found.requests if found else 0) - requests) <= error, (step, found, requests)
        if found is None:
            continue
        assert found.samples * every == found.requests
        total = sum(size * count.requests for size, count in inside.items())
        assert abs(found.bytes - total) <= step * error, (step, found, total)
        # Sum of every * life over chosen ones: its variance is at most every * sum of squares. A block that lives for
        # less than a tick of the clock (4 ms) may be seen on either side of one: 8 ms for each more in squares.
        life = sum(count.life for count in inside.values())
        squares = sum(count.squares for count in inside.values()) + 64 * requests
        assert abs(found.object_ms - life) <= SIGMAS * math.sqrt(every * squares) + 8 * every, (step, found, life)
        assert found.live * 100 <= found.requests or found.live <= 2 * every


@pytest.mark.parametrize("every", [1, 7, 64])
@pytest.mark.parametrize(
    ("mode", "operations"),
    [("grow", 100_000), ("churn", 300_000), ("lifo", 300_000), ("lives", 0), ("relay", 100_000), ("threads", 100_000)],
)
def test_estimates(tmp_path: Path, mode: str, operations: int, every: int) -> None:
    ((truth, profile),) = recorded(tmp_path, mode, operations, every)
    check(truth, profile, every)


def test_following_everything_is_exact(tmp_path: Path) -> None:
    ((truth, profile),) = recorded(tmp_path, "churn", 50_000, 1)
    estimates = {bucket.size: bucket for bucket in profile.small}
    for size in (5000, 20000):
        assert estimates[(size + 15) // 16 * 16].requests == truth[size].requests


def test_neighbours_in_a_class_are_told_apart(tmp_path: Path) -> None:
    # 100 and 108 bytes are in one bucket: their sum tells how many of each. A fixed step of 64 would see one of them.
    ((truth, profile),) = recorded(tmp_path, "grow", 200_000, 64)
    (found,) = [bucket for bucket in profile.small if bucket.size == 112]
    mean = found.bytes / found.requests
    assert abs(mean - 104) < SIGMAS * 4 / math.sqrt(found.samples), (mean, truth)


def test_lives_tell_what_stays(tmp_path: Path) -> None:
    ((_, profile),) = recorded(tmp_path, "lives", 0, 16)
    estimates = {bucket.size: bucket for bucket in profile.small}
    kept, passing = estimates[1008], estimates[1024]
    assert kept.requests < passing.requests
    assert kept.object_ms > 10 * passing.object_ms


def test_children_write_files_of_their_own(tmp_path: Path) -> None:
    (first, second) = recorded(tmp_path, "children", 50_000, 16)
    child, parent = (first, second) if first[0][1024].requests else (second, first)
    sizes = {bucket.size: bucket.requests for bucket in child[1].small}
    # What the child inherited, and freed, is not its own.
    assert sizes.get(112, 0) == 0 and sizes.get(1008, 0) == 0
    assert abs(sizes[1024] - 50_000) <= SIGMAS * math.sqrt(50_000 * 16) + 16
    sizes = {bucket.size: bucket.requests for bucket in parent[1].small}
    assert sizes.get(1024, 0) <= 16 and abs(sizes[112] - 4000) <= SIGMAS * math.sqrt(4000 * 16) + 16


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {"LD_PRELOAD": str(PRELOAD), "RTMALLOC_PROFILE": str(tmp_path / "file")}
    done = run([driver("profile", PLAIN), "lifo", "1000"], environment=environment)
    assert done.returncode == 0
    assert done.stderr == f"rtmalloc: RTMALLOC_PROFILE {tmp_path / 'file'}: no file can be made there\n"


def test_off_is_off(tmp_path: Path) -> None:
    done = run([driver("profile", PLAIN), "lifo", "1000"], environment={"LD_PRELOAD": str(PRELOAD)}, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize(
    ("mode", "threads", "operations"),
    [
        ("churn", 1, 50_000),
        ("churn", 8, 10_000),
        ("grow", 4, 3),
        ("classes", 1, 30_000),
        ("freeonly", 8, 8_000),
        ("orphans", 8, 5),
        ("first", 1, 200),
        ("keys", 8, 3),
        ("short", 4, 20_000),
        ("fork", 4, 20),
        ("cancel", 8, 10),
        ("exit", 4, 10),
        ("relay", 3, 1_000),
    ],
)
def test_stress_while_profiling(mode: str, threads: int, operations: int, every: int) -> None:
    stress(PLAIN, mode, threads, operations, seed=2, options=f"profile=1,profile_every={every}")


@pytest.mark.parametrize("flavour", [ASAN, TSAN, STORM], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize(
    ("mode", "threads", "operations"), [("churn", 4, 5_000), ("freeonly", 4, 3_000), ("orphans", 4, 3), ("fork", 4, 5)]
)
def test_sanitized_while_profiling(flavour: Flavour, mode: str, threads: int, operations: int) -> None:
    stress(flavour, mode, threads, operations, seed=3, options="profile=1,profile_every=3")


OPTIONS = ["bin_max=0", "bin_max=2,bin_kib=1,epoch_ms=1,idle_epochs=1", "thread_kib=0,total_kib=0,thread_least_kib=0"]


@pytest.mark.parametrize("options", OPTIONS)
def test_stress_while_profiling_with_small_bins(options: str) -> None:
    for mode, threads, operations in (("churn", 4, 10_000), ("orphans", 4, 3), ("freeonly", 4, 3_000), ("fork", 4, 10)):
        stress(PLAIN, mode, threads, operations, seed=5, options=f"profile=1,profile_every=2,{options}")
