"""memory_limit and memory_limit_hard: a real control group, wrong values, and requests beyond the hard limit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.building import PLAIN, driver, preloaded, run

MIB = 1 << 20
V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")
BURSTS = ("25", "130")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 256 MiB."""
    root, name = (V1, "memory.limit_in_bytes") if V1.is_dir() else (V2, "memory.max")
    path = root / f"rtmalloc-limit-{os.getpid()}"
    try:
        path.mkdir()
        (path / name).write_text(str(256 * MIB))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield path
    path.rmdir()


def inside(group: Path, options: str) -> int:
    """How the service ends in the group."""
    shell = shutil.which("sh")
    assert shell is not None
    script = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    done = run(
        [shell, "-c", script, "sh", driver("limit", PLAIN), *BURSTS], environment=preloaded(options), seconds=120
    )
    return done.returncode


def test_a_service_outgrows_its_group_without_a_limit(group: Path) -> None:
    assert inside(group, "") == -9


def test_auto_keeps_it_inside(group: Path) -> None:
    assert inside(group, "memory_limit=auto") == 0


def test_a_limit_below_what_is_in_use_refuses_nothing() -> None:
    done = run([driver("limit", PLAIN), "4", "60"], environment=preloaded("memory_limit=1M"), seconds=60)
    assert done.returncode == 0, done.stderr


def test_requests_beyond_the_hard_limit_fail() -> None:
    done = run([driver("limit", PLAIN), "4", "60"], environment=preloaded("memory_limit_hard=40M"), seconds=60)
    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize("value", ["bad", "3X", "-2", "12345678P", "1MiBB", "-1M"])
def test_a_wrong_value_is_a_sentence_and_changes_nothing(value: str) -> None:
    done = run([driver("limit", PLAIN), "2", "20"], environment=preloaded(f"memory_limit={value}"), seconds=60)
    assert done.returncode == 0
    assert "memory_limit" in done.stderr
    assert "the default stays" in done.stderr
