"""Forks that the allocator is not asked about, or is asked about at a bad moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import DRIVER, compile_cached, preloaded, run


def program(name: str) -> Path:
    source = DRIVER / f"{name}.c"
    return compile_cached(name, [source], [["gcc", "-O1", "-fno-builtin", "-w", source, "-o", "{out}", "-lpthread"]])


@pytest.mark.neighbour("raw clone, _Fork", "children of a process whose threads allocate")
@pytest.mark.parametrize("kind", ["0", "1", "2"], ids=["fork", "_Fork", "clone"])
def test_children_of_a_busy_process_allocate(kind: str) -> None:
    done = run([program("raw_fork"), kind, "4"], environment=preloaded(), seconds=60)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}{done.stderr}"
    assert "0 crashed, 0 hung" in done.stdout


@pytest.mark.neighbour("stdio, signals", "fork while others are in getline, or from a handler in the middle of malloc")
@pytest.mark.parametrize("name", ["stream_fork", "signal_fork"])
def test_fork_at_a_bad_moment(name: str) -> None:
    for options in ("", "background_thread=1"):
        done = run([program(name)], environment=preloaded(options), seconds=30)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", ""), options
