"""Forks that the allocator is not asked about, or is asked about at a bad moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import (
    CHECK,
    DRIVER,
    PLAIN,
    compile_cached,
    driver,
    environment_of,
    preloaded,
    run,
)


def program(name: str) -> Path:
    source = DRIVER / f"{name}.c"
    return compile_cached(name, [source], [["gcc", "-O1", "-fno-builtin", "-w", source, "-o", "{out}", "-lpthread"]])


@pytest.mark.neighbour("raw clone, _Fork", "children of a process whose threads allocate")
@pytest.mark.parametrize("kind", ["0", "1", "2"], ids=["fork", "_Fork", "clone"])
def test_children_of_a_busy_process_allocate(kind: str) -> None:
    done = run([driver("raw_fork", PLAIN), kind, "4"], environment=preloaded(), seconds=60)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"
    assert "0 crashed, 0 hung" in done.stdout


@pytest.mark.neighbour("raw clone, _Fork", "a copy of a process of one thread, which then has threads")
def test_a_copy_that_begins_threads() -> None:
    done = run([program("clone_threads")], environment=preloaded("epoch_ms=1"), seconds=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_a_mended_copy_keeps_the_equations() -> None:
    # The checked build looks at them when a copy has mended itself (calls/mend.pxd), and in the child's calls.
    for kind in ("1", "2"):
        done = run([driver("raw_fork", CHECK), kind, "4"], environment=environment_of(CHECK), seconds=200)
        assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"
        assert "0 crashed, 0 hung" in done.stdout


@pytest.mark.neighbour("stdio, signals", "fork while others are in getline, or from a handler in the middle of malloc")
@pytest.mark.parametrize("name", ["stream_fork", "signal_fork"])
def test_fork_at_a_bad_moment(name: str) -> None:
    for options in ("", "background_thread=1"):
        done = run([program(name)], environment=preloaded(options), seconds=30)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", ""), options
