"""Allocators as data: presets and options are what the libraries themselves have, and a wrong one is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench_harness.errors import HarnessError, UsageError
from bench_harness.measuring.plan import NATIVE, Cell, Contender, Plan
from bench_harness.measuring.record import run_cell
from bench_harness.peers import declaration
from bench_harness.peers.allocators import Allocator, _version_number, describe
from bench_harness.peers.declaration import PEERS, base_name, declared, preset_of, rank_of, read
from bench_harness.peers.options import check_options, option_names, presets_of, variant, with_preset
from bench_harness.peers.selection import select_allocators

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Changes a text of `peers.toml` for the time of a test."""

    def change(old: str, new: str) -> None:
        text = PEERS.read_text()
        assert old in text
        (tmp_path / "peers.toml").write_text(text.replace(old, new))
        monkeypatch.setattr(declaration, "PEERS", tmp_path / "peers.toml")
        declared.cache_clear()

    yield change
    monkeypatch.undo()
    declared.cache_clear()


def test_every_preset_is_accepted_by_the_library_that_is_here(allocators: dict[str, Allocator]) -> None:
    for name, allocator in allocators.items():
        for preset in presets_of(name)[1:]:
            check_options(with_preset(allocator, preset))


def test_options_are_asked_of_the_allocator(allocators: dict[str, Allocator]) -> None:
    assert {"arena_max", "trim_threshold", "tcache_count"} <= set(option_names(allocators["glibc"]))
    assert {"dirty_decay_ms", "background_thread"} <= set(option_names(allocators["rtmalloc"]))
    for name, option in (("jemalloc", "narenas"), ("mimalloc", "purge_delay"), ("tcmalloc", "release_rate")):
        if name in allocators:
            assert option in option_names(allocators[name])
    assert option_names(allocators["noop"]) == ()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rtmalloc.foo=1", r"--set rtmalloc\.foo=1: rtmalloc has no option foo; it has .*dirty_decay_ms"),
        ("rtmalloc.bin_max=-4", r"rtmalloc\[bin_max=-4\] does not work: .*out of range"),
        ("glibc.foo=1", "glibc has no option foo; it has .*arena_max"),
        ("glibc:slow.arena_max=1", "glibc:slow: no such preset; glibc has default, low-memory, trim, fast"),
        ("noop.x=1", "it is not declared how options reach noop"),
    ],
)
def test_an_option_that_is_not_there_is_refused(allocators: dict[str, Allocator], setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select_allocators(allocators, ["glibc"], [setting])


def test_a_preset_sets_what_it_declares(allocators: dict[str, Allocator]) -> None:
    made = with_preset(allocators["glibc"], "low-memory")
    assert (made.name, made.family, made.preset) == ("glibc:low-memory", "glibc", "low-memory")
    tunables = made.environment["GLIBC_TUNABLES"].split(":")
    assert tunables == [f"glibc.malloc.arena_max={CORES}", "glibc.malloc.trim_threshold=131072"]
    assert with_preset(allocators["glibc"], "default") is allocators["glibc"]


def test_options_come_after_those_of_a_preset(known: Allocator) -> None:
    made = variant(with_preset(replace(known, family="jemalloc"), "low-memory"), ["narenas=1"])
    assert made.name == "known:low-memory[narenas=1]" and made.options == ("narenas=1",)
    assert made.environment["MALLOC_CONF"].endswith(f"narenas:{CORES},narenas:1")
    each = variant(replace(known, family="mimalloc"), ["purge_delay=0", "allow_thp=0"])
    assert each.environment == {"MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_ALLOW_THP": "0"}


def test_the_trimmed_preset_is_the_c_librarys_own_allocator_with_a_companion(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator], cells: dict[str, Path]
) -> None:
    trimmed = with_preset(allocators["glibc"], "trim")
    assert trimmed.preloaded == str(cells["libtrim.so"])
    plan = make_plan("burst", {"mib": "20", "idle": "0.6"})
    entries = {
        a.name: run_cell(Cell(plan.groups[0], Contender(a.name, a, NATIVE), 0), plan, "m")
        for a in (allocators["glibc"], trimmed)
    }
    assert {e["status"] for e in entries.values()} == {"ok"}
    idle = {name: [m["rss_bytes"] for m in e["marks"] if m["name"] == "idle 0.5 s"] for name, e in entries.items()}
    assert idle["glibc:trim"] and idle["glibc:trim"][0] < 0.8 * idle["glibc"][0]


def test_a_run_without_names_compares_presets(allocators: dict[str, Allocator]) -> None:
    chosen = [a.name for a in select_allocators(allocators, [], [], say=pytest.fail)]
    for name in allocators:
        compared = declared().row(name).compared and name != "noop"
        assert (name in chosen) == (compared or name == "noop")
        assert (f"{name}:low-memory" in chosen) == (compared and "low-memory" in presets_of(name))
    assert not [name for name in chosen if name.endswith(":fast")]


def test_a_preset_that_does_not_fit_is_left_out_with_a_reason(
    allocators: dict[str, Allocator], declare: Callable[[str, str], None]
) -> None:
    declare('"trim_threshold=131072"', '"trim_treshold=131072"')
    lines: list[str] = []
    chosen = [a.name for a in select_allocators(allocators, [], [], say=lambda line: lines.append(str(line)))]
    assert "glibc:low-memory" not in chosen and "glibc" in chosen
    assert lines[0].startswith("glibc:low-memory is left out: glibc has no option trim_treshold; it has ")
    with pytest.raises(UsageError, match="no option trim_treshold"):
        select_allocators(allocators, ["glibc:low-memory"], [])


def test_names_on_the_command_line(allocators: dict[str, Allocator], cells: dict[str, Path]) -> None:
    chosen = select_allocators(
        allocators, ["glibc:trim", f"mine={cells['libknown.so']}", "glibc"], ["mine.a=1"], probe=False
    )
    assert [a.name for a in chosen] == ["glibc:trim", "mine", "glibc", "mine[a=1]"]
    with pytest.raises(UsageError, match="--allocator glibc:small: no such preset; glibc has default, low-memory"):
        select_allocators(allocators, ["glibc:small"], [])
    with pytest.raises(UsageError, match=r"--allocator mine:small=.*: no such preset; mine has default"):
        select_allocators(allocators, [f"mine:small={cells['libknown.so']}"], [])


def test_a_library_under_another_name_still_tells_its_version(allocators: dict[str, Allocator]) -> None:
    assert allocators["glibc"].version.startswith("glibc 2.")
    assert allocators["rtmalloc"].version.startswith("sha256 ")
    for name in ("jemalloc", "mimalloc", "tcmalloc"):
        if name in allocators:
            path = allocators[name].path
            assert path is not None and describe("other", path).version == allocators[name].version


@pytest.mark.parametrize(("number", "text"), [(209, "2.0.9"), (30403, "3.4.3"), (21, "0.2.1")])
def test_versions_packed_into_a_number(number: int, text: str) -> None:
    assert _version_number(number) == text


@pytest.mark.parametrize(
    ("name", "base", "preset"),
    [
        ("glibc", "glibc", "default"),
        ("jemalloc:low-memory", "jemalloc", "low-memory"),
        ("malloc/jemalloc:fast[narenas=1]", "jemalloc", "fast"),
        ("rtmalloc[bin_max=0,config=/a/b:c]", "rtmalloc", "default"),
    ],
)
def test_what_a_contenders_name_says(name: str, base: str, preset: str) -> None:
    assert (base_name(name), preset_of(name)) == (base, preset)


def test_tables_come_by_rank() -> None:
    names = ["noop", "pymalloc", "glibc:trim", "malloc/glibc", "unheard-of", "jemalloc", "rtmalloc"]
    assert sorted(names, key=rank_of) == [
        "rtmalloc", "unheard-of", "jemalloc", "glibc:trim", "malloc/glibc", "pymalloc", "noop",
    ]  # fmt: skip


def test_a_broken_declaration_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(PEERS.read_text().replace('variable = "MALLOC_CONF"', "variable = 3"))
    with pytest.raises(HarnessError, match=r"not a valid declaration of peers at \$\.allocators\.jemalloc\.options"):
        read(path)
