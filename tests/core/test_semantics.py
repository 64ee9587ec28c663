"""C11, C23 and POSIX to the letter, clause by clause (semantics.c), under the preload, ASan and long pages."""

from __future__ import annotations

import re

import pytest

from .building import ASAN, DRIVER, PAGE16, PAGE64, PLAIN, Flavour, driver, environment_of, run

CLAUSES = [
    "zero_sizes",
    "no_memory",
    "invalid",
    "errno_kept",
    "calloc_zeroes",
    "calloc_across_segments",
    "alignments",
    "usable",
    "resizing",
    "trimming",
    "family",
]


@pytest.mark.parametrize(
    "flavour", [PLAIN, ASAN, PAGE64, pytest.param(PAGE16, marks=pytest.mark.soak)], ids=lambda flavour: flavour.name
)
@pytest.mark.parametrize("clause", CLAUSES)
def test_clause(clause: str, flavour: Flavour) -> None:
    done = run([driver("semantics", flavour), clause], environment=environment_of(flavour))
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr[:8000]}"
    assert done.stdout == f"{clause}: fine\n"
    assert done.stderr == ""


def test_every_clause_is_run() -> None:
    table = (DRIVER / "semantics.c").read_text().partition("clauses[] = {")[2].partition("};")[0]
    assert sorted(re.findall(r'"(\w+)"', table)) == sorted(CLAUSES)
