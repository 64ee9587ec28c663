"""The heap profile of programs that are not Python: storms, forks, and what it refuses (docs/heap-profile.md)."""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_left
from pathlib import Path

import pytest

from rtmalloc import _core
from rtmalloc.profile import ProfileError, load_heap

from .building import ASAN, PLAIN, PRELOAD, TSAN, Flavour, driver, run
from .test_stress import stress

SIGMAS = 6
LARGEST = 32768
"""Bytes of the largest small class."""
STORMS = [
    ("churn", 8, 10_000),
    ("grow", 4, 3),
    ("freeonly", 8, 8_000),
    ("orphans", 8, 5),
    ("short", 4, 20_000),
    ("fork", 4, 20),
    ("cancel", 8, 10),
    ("relay", 3, 1_000),
]


@pytest.mark.parametrize("interval", [1, 5000, 524288])
@pytest.mark.parametrize(("mode", "threads", "operations"), STORMS)
def test_storms(mode: str, threads: int, operations: int, interval: int) -> None:
    options = f"heap_profile=1,heap_profile_interval={interval}"
    stress(PLAIN, mode, threads, operations, seed=7, options=options)


@pytest.mark.parametrize("flavour", [ASAN, TSAN], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize(
    ("mode", "threads", "operations"), [("churn", 4, 3_000), ("freeonly", 4, 2_000), ("orphans", 4, 3), ("fork", 4, 5)]
)
def test_sanitized_storms(flavour: Flavour, mode: str, threads: int, operations: int) -> None:
    stress(flavour, mode, threads, operations, seed=3, options="heap_profile=1,heap_profile_interval=5000")


def written(directory: Path, mode: str, operations: int, interval: int) -> list[Path]:
    """Run a mode of the profile driver; the files of its processes."""
    environment = {
        "LD_PRELOAD": str(PRELOAD),
        "RTMALLOC_HEAP_PROFILE": str(directory),
        "RTMALLOC_OPTIONS": f"heap_profile_interval={interval}",
    }
    done = run([driver("profile", PLAIN), mode, str(operations)], environment=environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return sorted(directory.glob("rtmalloc-heap-*.json"))


def test_a_native_program_has_native_stacks(tmp_path: Path) -> None:
    (file,) = written(tmp_path / "made", "grow", 100_000, 4096)
    profile = load_heap(file)
    assert profile.python.startswith("no Python frames") and profile.native == ".eh_frame" and profile.left_out == 0
    assert profile.program == driver("profile", PLAIN).name[:15]
    assert sum(site.alloc_bytes for site in profile.sites) > 1 << 20
    depths = [len(site.frames) for site in profile.sites if site.alloc_bytes]
    assert max(depths) >= 3
    assert any("libc.so" in frame.file for site in profile.sites for frame in site.frames)


@pytest.mark.parametrize("interval", [5000, 65536])
@pytest.mark.parametrize(
    ("mode", "operations"),
    [("grow", 100_000), ("churn", 1_000_000), ("lifo", 300_000), ("relay", 100_000), ("threads", 200_000)],
)
def test_estimates(tmp_path: Path, mode: str, operations: int, interval: int) -> None:
    # Blocks count at the size of their class; above 16 KiB a sample stands for up to twice the interval.
    environment = {
        "LD_PRELOAD": str(PRELOAD),
        "RTMALLOC_HEAP_PROFILE": str(tmp_path / "made"),
        "RTMALLOC_OPTIONS": f"heap_profile_interval={interval}",
    }
    done = run([driver("profile", PLAIN), mode, str(operations)], environment=environment)
    classes = _core.size_classes()[0]
    counts = [count.split(":") for line in done.stdout.splitlines() for count in line.split()[1:]]
    truth = sum(classes[bisect_left(classes, int(size))] * int(requests) for size, requests, *_ in counts)
    (file,) = (tmp_path / "made").glob("rtmalloc-heap-*.json")
    small = [site for site in load_heap(file).sites if site.alloc_bytes <= LARGEST * site.alloc_objects]
    estimate = sum(site.alloc_bytes for site in small)
    assert abs(estimate - truth) <= SIGMAS * math.sqrt(2 * truth * interval) + LARGEST, (estimate, truth)


def test_everything_followed_is_exact(tmp_path: Path) -> None:
    # Each block of a small class stands for itself where the interval is one byte.
    (file,) = written(tmp_path / "made", "grow", 20_000, 1)
    raw = json.loads(file.read_text())
    for samples, objects, _, *_ in raw["stacks"]:
        assert objects == samples * 256
    addresses = [row[0] for row in raw["live"][1:] + raw["large"][1:]]
    assert len(addresses) == len(set(addresses))


@pytest.mark.parametrize(
    ("mode", "operations"),
    [
        ("threads", 300_000),
        ("relay", 400_000),
        pytest.param("threads", 250_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
        pytest.param("relay", 400_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_each_sample_lives_or_is_gone(tmp_path: Path, mode: str, operations: int) -> None:
    # (The long ones: 10**9 requests of four threads, and 10**5 threads that free what others asked for.)
    (file,) = written(tmp_path / "made", mode, operations, 5000 if operations < 10**6 else 524288)
    raw = json.loads(file.read_text())
    assert raw["sampled"] > 5000 and raw["left_out"] == 0
    assert raw["sampled"] == raw["freed"] + len(raw["live"]) + len(raw["large"]) - 2


def test_a_child_begins_its_own(tmp_path: Path) -> None:
    files = written(tmp_path / "made", "children", 50_000, 4096)
    profiles = [load_heap(file) for file in files]
    assert len(profiles) == 2 and profiles[0].pid != profiles[1].pid
    # Blocks of the parent live in the child as well, but are not its own to tell.
    for profile in profiles:
        assert profile.live_bytes <= sum(site.alloc_bytes for site in profile.sites) * 1.001


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    (file,) = written(tmp_path / "made", "lifo", 1000, 4096)
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert list(file.parent.iterdir()) == [file]


def refused(directory: Path) -> str:
    environment = {"LD_PRELOAD": str(PRELOAD), "RTMALLOC_HEAP_PROFILE": str(directory)}
    done = run([driver("profile", PLAIN), "lifo", "1000"], environment=environment)
    assert done.returncode == 0
    return done.stderr


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    sentence = f"rtmalloc: RTMALLOC_HEAP_PROFILE {tmp_path / 'link'}: it is no directory, or a symbolic link\n"
    assert refused(tmp_path / "link") == sentence
    assert not list((tmp_path / "real").iterdir())


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert refused(tmp_path / "open").endswith("it belongs to somebody else, or others may write there\n")
    assert not list((tmp_path / "open").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir(mode=0o700)
    os.chown(tmp_path / "foreign", 12345, 12345)
    assert refused(tmp_path / "foreign").endswith("it belongs to somebody else, or others may write there\n")
    assert not list((tmp_path / "foreign").iterdir())


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir(mode=0o700)
    environment = {"LD_PRELOAD": str(PRELOAD), "RTMALLOC_HEAP_PROFILE": str(tmp_path / "made")}
    # A limit on the size of files: the kernel refuses what is beyond, as a full disk would.
    command = ["prlimit", "--fsize=4096", "env", "--ignore-signal=XFSZ", str(driver("profile", PLAIN)), "lifo", "1000"]
    done = run(command, environment=environment)
    assert "the profile could not be written in full\n" in done.stderr
    assert not list((tmp_path / "made").iterdir())


def test_a_profile_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    (file,) = written(tmp_path / "made", "lifo", 1000, 4096)
    text = file.read_text()
    for length in range(0, len(text) - 2, max(1, len(text) // 50)):
        file.write_text(text[:length])
        with pytest.raises(ProfileError, match="cut short"):
            load_heap(file)


@pytest.mark.parametrize("change", ["format", "version", "live", "whole"])
def test_what_is_no_profile_is_refused(tmp_path: Path, change: str) -> None:
    (file,) = written(tmp_path / "made", "lifo", 1000, 4096)
    raw = json.loads(file.read_text())
    raw[change] = {"format": "other", "version": 2, "live": [[], [1, 2, 3, 10**9, 0, 0, 0]], "whole": False}[change]
    file.write_text(json.dumps(raw))
    with pytest.raises(ProfileError):
        load_heap(file)


def test_off_is_off(tmp_path: Path) -> None:
    done = run([driver("profile", PLAIN), "lifo", "1000"], environment={"LD_PRELOAD": str(PRELOAD)}, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "" and not list(tmp_path.iterdir())


def test_both_profiles_at_once_are_refused(tmp_path: Path) -> None:
    environment = {"LD_PRELOAD": str(PRELOAD), "RTMALLOC_OPTIONS": "heap_profile=1,profile=1"}
    done = run([driver("profile", PLAIN), "lifo", "1000"], environment=environment, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == "rtmalloc: RTMALLOC_OPTIONS profile: a heap profile is recorded, which excludes it\n"
