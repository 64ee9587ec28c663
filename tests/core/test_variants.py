"""Every variant of variants.toml and every switch of docs/switches.md: the letter of the standards, and stress.

Short settings, because there are many of them; `make soak` runs them long.
"""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise

import pytest

from ci.variants import ROOT, Variant, VariantError, _entry, build, variants
from rtmalloc.size_table import table_read

from .building import ASAN, PLAIN, STORM, TSAN, Flavour, driver, environment_of, run
from .test_limits import WILD, wild
from .test_semantics import CLAUSES
from .test_stress import PLAIN_RUNS, SANITIZED_RUNS, stress

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

# The alternatives that are options, each away from its default, and what they must be good for together.
SWITCHES = [
    "slots=1",
    "slots=64,epoch_ms=1",
    "slots=1,remote_kib=0,epoch_ms=1",
    "transfer_kib=0",
    "keep_empty=1",
    "keep_empty=1,epoch_ms=1,transfer_kib=0,bin_max=0",
    "low_water=0,idle_epochs=0",
    "address_order=0",
    "slow_start_bytes=1048576",
    "bin_max=16383,bin_kib=1048576,thread_kib=1048576,total_kib=67108864",
    "bin_max=0",
    "dirty_decay_ms=-1",
    "dirty_decay_ms=0",
    "muzzy_decay_ms=20,dirty_decay_ms=5",
    "segments=0",
    "segments=0,transfer_kib=0,bin_max=0,epoch_ms=1",
    "preset=classic",
]
SWITCH_RUNS = [
    ("churn", 4, 20_000),
    ("grow", 2, 4),
    ("freeonly", 4, 5_000),
    ("orphans", 4, 4),
    ("short", 4, 5_000),
    ("relay", 3, 600),
    ("fork", 2, 4),
]
# Those that change who tells whom of a free, under TSan as well.
PROTOCOL_RUNS = [("churn", 4, 8_000), ("freeonly", 4, 3_000), ("orphans", 4, 2), ("short", 4, 500), ("relay", 2, 150)]


@pytest.mark.parametrize("name", VARIANTS)
def test_semantics(name: str) -> None:
    sizes = table_read(ROOT / VARIANTS[name].table).sizes
    waste = max((size - below - 1) / size for below, size in pairwise(sizes) if below >= 256)
    environment = {**environment_of(PLAIN.of(VARIANTS[name])), "DRIVER_WASTE": f"{waste + 1e-4:.4f}"}
    clauses = set(CLAUSES)
    if ("RT_LOOKUP", "1") in VARIANTS[name].defines:
        # It wants blocks that cross a segment's border, of which there are none: the header is in the way.
        clauses.remove("calloc_across_segments")
    for clause in sorted(clauses):
        done = run([driver("semantics", PLAIN), clause], environment=environment)
        assert done.returncode == 0, f"{clause}: {done.returncode}: {done.stdout}{done.stderr[:8000]}"
        assert done.stdout == f"{clause}: fine\n"
        assert done.stderr == ""


@pytest.mark.parametrize("name", VARIANTS)
def test_stress(name: str) -> None:
    for mode, threads, operations in SHORT_RUNS:
        stress(PLAIN.of(VARIANTS[name]), mode, threads, operations, seed=5)


@pytest.mark.parametrize("name", VARIANTS)
def test_wild_pointers(name: str) -> None:
    # The bins of CPUs take objects of any span: those are looked at when they leave.
    trim = ("RT_PERCPU", "1") in VARIANTS[name].defines
    for case, reason in WILD.items():
        wild(case, reason, PLAIN.of(VARIANTS[name]), trim=trim)


@pytest.mark.parametrize("options", SWITCHES)
def test_switch_semantics(options: str) -> None:
    # calloc's long one is for those that change what is known to be zero.
    clauses = CLAUSES if "segments" in options or "decay" in options else sorted(set(CLAUSES) - {"calloc_zeroes"})
    for clause in clauses:
        done = run([driver("semantics", PLAIN), clause], environment=environment_of(PLAIN, options))
        assert done.returncode == 0, f"{clause}: {done.returncode}: {done.stdout}{done.stderr[:8000]}"
        assert done.stderr == ""


@pytest.mark.parametrize("options", SWITCHES)
def test_switch_stress(options: str) -> None:
    for mode, threads, operations in SWITCH_RUNS:
        stress(PLAIN, mode, threads, operations, seed=6, options=options)


@pytest.mark.parametrize(
    "options", ["slots=1,epoch_ms=1", "slots=64,remote_kib=0", "keep_empty=1,bin_max=0,epoch_ms=1", "preset=classic"]
)
def test_switch_tsan(options: str) -> None:
    for mode, threads, operations in PROTOCOL_RUNS:
        stress(TSAN, mode, threads, operations, seed=7, options=options)
        stress(STORM, mode, threads, operations, seed=8, options=options)


SOAK = pytest.mark.soak  # (a build takes half a minute)


@pytest.mark.parametrize(
    "flavour", [TSAN, pytest.param(ASAN, marks=SOAK), pytest.param(STORM, marks=SOAK)], ids=lambda flavour: flavour.name
)
def test_classic_sanitized(flavour: Flavour) -> None:
    for mode, threads, operations in PROTOCOL_RUNS:
        stress(flavour.of(VARIANTS["classic"]), mode, threads, operations, seed=9)


def lookup_asan(name: str) -> None:
    stress(ASAN.of(VARIANTS[name]), "grow", 2, 2, seed=9)


def lookup_tsan(name: str) -> None:
    stress(TSAN.of(VARIANTS[name]), "churn", 4, 5_000, seed=9)
    # TSan does not know that mremap moves pages; with tags in headers most large blocks are giants, which it moves.
    stress(TSAN.of(VARIANTS[name]), "grow", 2, 1, seed=9, options="remap_kib=1073741824")


LOOKUPS = {
    "lookup-header": lookup_asan,
    "lookup-flat": lookup_asan,
    "lookup-radix": lookup_tsan,
    "state-test": lookup_tsan,
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookup_sanitized(name: str) -> None:
    # (A build for each sanitizer takes half a minute: the other one in the long runs.)
    LOOKUPS[name](name)


@pytest.mark.soak
@pytest.mark.parametrize("name", LOOKUPS)
def test_lookup_sanitized_soak(name: str) -> None:
    lookup_asan(name)
    lookup_tsan(name)


@pytest.mark.parametrize("slots", [1, 2, 64])
def test_slots_are_as_many_as_the_option_says(slots: int) -> None:
    # One slot alone has one current span of a class, and nothing to steal from.
    environment = environment_of(PLAIN, f"slots={slots},stats_at_exit=1")
    done = run([driver("stress", PLAIN), "churn", "4", "5000", "1"], environment=environment)
    assert f"rtmalloc: slots {slots}\n" in done.stderr, done.stderr
    current = [int(number) for number in re.findall(r"class size \d+ spans \d+ current (\d+)", done.stderr)]
    assert current and max(current) <= slots, current
    stolen = re.search(r"^rtmalloc: spans_stolen (\d+)$", done.stderr, re.MULTILINE)
    assert stolen and (slots > 1 or stolen[1] == "0"), stolen


def test_presets_are_in_force() -> None:
    # A name that options.h does not know would leave the defaults.
    code = "import rtmalloc; o = rtmalloc.options(); print(*(o[n].value for n in ('keep_empty', 'slots', 'epoch_ms')))"
    command = [sys.executable, "-c", code]
    assert run(command, environment=environment_of(PLAIN.of(VARIANTS["classic"]))).stdout == "1 1 50\n"
    assert run(command, environment=environment_of(PLAIN, "preset=classic,slots=3,epoch_ms=9")).stdout == "1 3 9\n"
    done = run(command, environment=environment_of(PLAIN, "preset=modern"))
    assert done.stdout == "0 0 50\n"
    assert "RTMALLOC_OPTIONS preset: there is no set of options of that name" in done.stderr


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
@pytest.mark.parametrize("options", SWITCHES)
@pytest.mark.parametrize(("mode", "threads", "operations"), PLAIN_RUNS, ids=str)
def test_switch_soak(options: str, mode: str, threads: int, operations: int) -> None:
    stress(PLAIN, mode, threads, operations * (1 if mode == "idle" else 5), 12, options=options, seconds=1800)


@pytest.mark.soak
@pytest.mark.parametrize("options", SWITCHES)
@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=str)
def test_switch_tsan_soak(options: str, mode: str, threads: int, operations: int) -> None:
    stress(TSAN, mode, threads, operations * 3, 13, options=options, seconds=1800)


@pytest.mark.soak
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("mode", "threads", "operations"), PLAIN_RUNS, ids=str)
def test_stress_soak(name: str, mode: str, threads: int, operations: int) -> None:
    for seed in (10, 11):
        stress(PLAIN.of(VARIANTS[name]), mode, threads, operations * (1 if mode == "idle" else 5), seed, seconds=1800)
