"""Every variant of variants.toml and every switch of docs/switches.md: the letter of the standards, and stress.

Short settings, because there are many of them; `make soak` runs them long.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from ci.variants import ROOT, Variant, VariantError, _entry, build, variants
from rtmalloc.size_table import table_read

from .building import PLAIN, driver, environment_of, run
from .test_semantics import CLAUSES
from .test_stress import PLAIN_RUNS, stress

# mode, threads, operations
SHORT_RUNS = [
    ("churn", 1, 60_000),
    ("churn", 4, 40_000),
    ("churn", 16, 6_000),
    ("grow", 4, 5),
    ("classes", 1, 30_000),
    ("freeonly", 4, 10_000),
    ("orphans", 8, 8),
    ("first", 1, 500),
    ("keys", 8, 4),
    ("short", 4, 20_000),
    ("idle", 200, 1),
    ("fork", 4, 12),
    ("cancel", 8, 10),
    ("exit", 4, 15),
    ("relay", 3, 1_500),
]
VARIANTS = variants()


@pytest.mark.parametrize("name", VARIANTS)
def test_semantics(name: str) -> None:
    sizes = table_read(ROOT / VARIANTS[name].table).sizes
    waste = max((size - below - 1) / size for below, size in pairwise(sizes) if below >= 256)
    environment = {**environment_of(PLAIN.of(VARIANTS[name])), "DRIVER_WASTE": f"{waste + 1e-4:.4f}"}
    for clause in CLAUSES:
        done = run([driver("semantics", PLAIN), clause], environment=environment)
        assert done.returncode == 0, f"{clause}: {done.returncode}: {done.stdout}{done.stderr[:8000]}"
        assert done.stdout == f"{clause}: fine\n"
        assert done.stderr == ""


@pytest.mark.parametrize("name", VARIANTS)
def test_stress(name: str) -> None:
    for mode, threads, operations in SHORT_RUNS:
        stress(PLAIN.of(VARIANTS[name]), mode, threads, operations, seed=5)


def test_variants_differ_from_the_default() -> None:
    # One that forgot its macros or its table would pass all of the above.
    texts = {name: build(variant).read_bytes() for name, variant in VARIANTS.items()}
    plain = build(Variant("default", (0,), "nothing")).read_bytes()
    assert len({plain, *texts.values()}) == len(texts) + 1


def test_list_is_checked() -> None:
    with pytest.raises(VariantError, match=r"\[x\]: unknown key 'define'"):
        _entry("x", {"idea": [1], "changes": "y", "define": {}})
    with pytest.raises(VariantError, match=r"\[x\]: slice_shift is a int"):
        _entry("x", {"idea": [1], "changes": "y", "slice_shift": "16"})
    with pytest.raises(VariantError, match=r"\[x\]: changes is missing"):
        _entry("x", {"idea": [1]})
    with pytest.raises(VariantError, match=r"x: .*none\.toml"):
        build(Variant("x", (1,), "y", table="none.toml"))


def test_unknown_name_is_refused() -> None:
    done = subprocess.run([sys.executable, ROOT / "ci/variants.py", "nope"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no variant 'nope'; there are slice32, ")


@pytest.mark.soak
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("mode", "threads", "operations"), PLAIN_RUNS, ids=str)
def test_stress_soak(name: str, mode: str, threads: int, operations: int) -> None:
    for seed in (10, 11):
        stress(PLAIN.of(VARIANTS[name]), mode, threads, operations * (1 if mode == "idle" else 5), seed, seconds=1800)
