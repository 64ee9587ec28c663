"""The preload library for C programs on musl: built by musl-gcc, loaded by musl's own loader."""

from __future__ import annotations

import subprocess

import pytest

from tests.core.test_semantics import CLAUSES
from tests.core.test_stress import OPTION_SETS, SANITIZED_RUNS, run_name

from .cross import Cross

MUSL = Cross("musl", "musl-gcc", kernel_headers=True)


def fine(name: str, *words: str, options: str = "") -> str:
    done = MUSL.run(name, *words, options=options)
    assert done.returncode == 0, f"{name} {words} {options}: {done.returncode}\n{done.stdout}{done.stderr[-4000:]}"
    assert "fine" in done.stdout
    assert "rtmalloc:" not in done.stderr, done.stderr
    return done.stdout


def test_it_is_musl() -> None:
    # A driver that the compiler had linked with glibc would prove nothing.
    for file, needed in ((MUSL.library, "libc.so"), (MUSL.driver("stress"), "libc.so")):
        text = subprocess.run(["readelf", "-dlW", file], capture_output=True, text=True, check=True).stdout
        assert f"[{needed}]" in text and "libc.so.6" not in text
    assert "ld-musl-x86_64.so.1" in text


@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=run_name)
def test_stress(mode: str, threads: int, operations: int) -> None:
    fine("stress", mode, str(threads), str(operations), "1")


@pytest.mark.parametrize("options", OPTION_SETS)
def test_options(options: str) -> None:
    fine("stress", "churn", "4", "20000", "3", options=options)


@pytest.mark.parametrize("clause", CLAUSES)
def test_clause(clause: str) -> None:
    assert fine("semantics", clause) == f"{clause}: fine\n"


@pytest.mark.parametrize("order", ["constructors"])
def test_before_constructors(order: str) -> None:
    fine("early", order)
