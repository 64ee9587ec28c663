"""A fork child leaves partly used spans alone, whose pages it shares with its parent, until it has grown."""

from __future__ import annotations

import pytest

from tests.core.building import PLAIN, driver, preloaded, run


def inherited(mib: int, kib: int, threads: int, options: str = "") -> dict[str, int]:
    """What the driver says of its child: numbers by name."""
    words = [str(mib), str(kib), str(threads)]
    done = run([driver("inherited", PLAIN), *words], environment=preloaded(options), seconds=120)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return {name: int(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def test_a_worker_draws_from_new_spans() -> None:
    # A fifth of each page is free: drawn from there, 1 MiB would copy 5.
    # (A huge page of new memory is no copy, but counts.)
    seen = inherited(64, 1024, 0, "huge_pages=-1")
    assert seen["unshared_kib"] < 2048 + 512, seen


def test_a_child_that_grows_fills_the_holes() -> None:
    seen = inherited(64, 1024, 0)
    # It may grow by a sixteenth of what it inherited; the rest of what it draws finds room.
    assert seen["grown_kib"] < 0.6 * seen["holes_kib"], seen


@pytest.mark.parametrize("slots", [1, 4])
def test_what_it_inherited_it_can_free(slots: int) -> None:
    assert inherited(64, 1024, 4, f"slots={slots}")["left_kib"] < 2048
