"""The checked build (RT_CHECK): silent where all is well (test_stress runs it), it tells what the default cannot."""

from __future__ import annotations

import pytest

from .building import CHECK, driver, environment_of, run


@pytest.mark.parametrize(
    ("case", "reason"),
    [("twice", "double free"), ("inside", "free already, or not the start of a block")],
)
def test_mistakes_in_the_own_bin(case: str, reason: str) -> None:
    done = run([driver("checked", CHECK), case], environment=environment_of(CHECK))
    assert done.returncode == -6, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.startswith("rtmalloc: free(0x") and reason in done.stderr


def test_no_mistake() -> None:
    done = run([driver("checked", CHECK), "none"], environment=environment_of(CHECK))
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
