"""The ablation: rows that are declared right, pairs in the same rounds, verdicts only where a repeat agrees."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text

from bench_harness.ablation.declaration import ROWS, Declaration, Side, read, select
from bench_harness.ablation.effects import SwitchEffects, Verdict, effects_of, steady_rss
from bench_harness.ablation.picture import ablation_figure, draw_ablation
from bench_harness.ablation.sides import chosen_of, contender_name, contenders_of, groups_of, prove_side
from bench_harness.ablation.text import detail_lines, markdown, notes, summary_lines
from bench_harness.errors import HarnessError, UsageError
from bench_harness.measuring.catalogue import Workload
from bench_harness.measuring.plan import NATIVE, Contender, Plan
from bench_harness.measuring.store import Results
from bench_harness.peers.allocators import Allocator
from bench_harness.peers.options import variant
from bench_harness.reporting.pictures.style import SMALL, WIDE, pleasant
from tests.bench_harness.conftest import MIB, ROOT, ROWS_TEXT, failed_cell, make_cell, make_results

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What is declared


def test_every_numbered_idea_of_the_list_has_a_row(workloads: dict[str, Workload]) -> None:
    items = read(ROWS, workloads).items
    assert [item.number for item in items if item.number is not None] == list(range(1, 16))
    assert all(item.says for item in items if item.number is not None)


def test_every_declared_option_is_accepted_by_the_library(
    workloads: dict[str, Workload], allocators: dict[str, Allocator]
) -> None:
    for item in read(ROWS, workloads).items:
        for switch in item.switches:
            for side in (switch.on, switch.off):
                if side.options and not side.variant:
                    prove_side(variant(allocators["rtmalloc"], side.options), [switch.name])


def test_every_declared_variant_is_one_that_make_builds(workloads: dict[str, Workload]) -> None:
    known = tomllib.loads((ROOT / "variants.toml").read_text())
    items = read(ROWS, workloads).items
    used = {side.variant for item in items for s in item.switches for side in (s.on, s.off) if side.variant}
    assert used <= set(known)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "second"', 'name = "first"', "switch first is declared twice"),
        ('"larson x2"]', '"larsen x2"]', "switch second: --workload larsen: unknown"),
        ('"larson x2"]', '"burst x2"]', "switch second: burst x2: the workload cannot run 2 threads"),
        ('"larson x2"]', '"strings x1"]', "switch second: strings: an ablation runs native workloads only"),
        ('"larson x2"]', '"churn:live=100 x1"]', "switch second: churn:live=100 is named both in moves and in still"),
        ('still = ["larson x1", "larson x2"]', 'still = ["larson x1"]', r"items\[1\].switches\[0\].still"),
        ('off = { options = ["bin_max=4"] }', "off = {}", "switch first: both sides are the same"),
        ('rss = "-"', 'rss = "lots"', r"items\[0\].guess.rss: 'lots' is not one of"),
        ('tells = "on against off"', "", "'tells' is a required property"),
        ("number = 3", "number = 'x", "not TOML"),
    ],
)
def test_a_wrong_row_is_an_error_that_says_where(
    rows: Path, workloads: dict[str, Workload], old: str, new: str, message: str
) -> None:
    assert old in ROWS_TEXT
    rows.write_text(ROWS_TEXT.replace(old, new))
    with pytest.raises(HarnessError, match=message):
        read(rows, workloads)


def test_a_selection_by_number_and_by_name(declared: Declaration) -> None:
    assert select(declared.items, []) == list(declared.items)
    assert [s.name for i in select(declared.items, ["3"]) for s in i.switches] == ["first"]
    assert [s.name for i in select(declared.items, ["second", "3"]) for s in i.switches] == ["first", "second"]
    with pytest.raises(UsageError, match="ablate 4: no such idea; numbers are 3, switches are first, second"):
        select(declared.items, ["4"])


# Sides


def test_sides_become_contenders_of_their_own(declared: Declaration, allocators: dict[str, Allocator]) -> None:
    contenders = contenders_of(declared, declared.items, allocators)
    assert set(contenders) == {"rtmalloc", "rtmalloc[bin_max=4]", "rtmalloc-other[bin_max=8]"}
    other = contenders["rtmalloc-other[bin_max=8]"].allocator
    assert other.path == declared.library("other") and other.environment == {"RTMALLOC_OPTIONS": "bin_max=8"}


def test_an_option_that_is_not_there_is_an_error_that_names_it(
    rows: Path, workloads: dict[str, Workload], allocators: dict[str, Allocator]
) -> None:
    rows.write_text(ROWS_TEXT.replace("bin_max=4", "bin_least=4"))
    declared = read(rows, workloads)
    with pytest.raises(UsageError, match=r"switch first: rtmalloc\[bin_least=4\] does not work: .*no such option"):
        contenders_of(declared, declared.items, allocators)


def test_a_value_out_of_range_is_an_error_too(
    rows: Path, workloads: dict[str, Workload], allocators: dict[str, Allocator]
) -> None:
    rows.write_text(ROWS_TEXT.replace("bin_max=4", "bin_max=-4"))
    declared = read(rows, workloads)
    with pytest.raises(UsageError, match=r"switch first: .*out of range"):
        contenders_of(declared, declared.items, allocators)


def test_a_variant_that_is_not_there_is_an_error_that_names_it(
    rows: Path, workloads: dict[str, Workload], allocators: dict[str, Allocator]
) -> None:
    rows.write_text(ROWS_TEXT.replace('variant = "other"', 'variant = "lost"'))
    declared = read(rows, workloads)
    with pytest.raises(UsageError, match="switch second: variant lost cannot be built: error: there is no variant"):
        contenders_of(declared, declared.items, allocators)


def test_a_library_that_does_not_load_is_found_before_the_run(tmp_path: Path, allocators: dict[str, Allocator]) -> None:
    broken = tmp_path / "broken.so"
    broken.write_text("not a library")
    with pytest.raises(UsageError, match=r"switch x: rtmalloc does not work: ERROR: ld\.so"):
        prove_side(replace(allocators["rtmalloc"], path=broken), ["x"])


# The plan


def _plan(declared: Declaration, make_plan: Callable[..., Plan], glibc: Allocator, **changes: Any) -> Plan:
    names = {contender_name(declared, side): None for i in declared.items for s in i.switches for side in (s.on, s.off)}
    plan = make_plan(contenders=[Contender(n, replace(glibc, name=n), NATIVE) for n in names], **changes)
    return replace(plan, groups=groups_of(declared.items), chosen=chosen_of(declared, declared.items))


def test_both_sides_of_a_switch_run_next_to_each_other_in_every_round(
    declared: Declaration, make_plan: Callable[..., Plan], allocators: dict[str, Allocator]
) -> None:
    plan = _plan(declared, make_plan, allocators["glibc"], repeat=3)
    cells = plan.cells(0, plan.groups)
    by_group: dict[str, list[int]] = {}
    for i, cell in enumerate(cells):
        by_group.setdefault(f"{cell.group.label} x{cell.group.threads}", []).append(i)
    assert {name: len(at) for name, at in by_group.items()} == {
        "churn:live=100 x1": 3,  # both switches need it, and share the default
        "churn:live=200 x1": 2,
        "larson x1": 3,
        "xmalloc x2": 2,
        "larson x2": 2,
    }
    assert all(at == list(range(at[0], at[0] + len(at))) for at in by_group.values())


def test_the_order_is_shuffled_by_a_seed(
    declared: Declaration, make_plan: Callable[..., Plan], allocators: dict[str, Allocator]
) -> None:
    def order(seed: int) -> list[list[str]]:
        plan = _plan(declared, make_plan, allocators["glibc"], repeat=8, seed=seed)
        return [[f"{c.group.label} {c.contender.name}" for c in plan.cells(r, plan.groups)] for r in range(8)]

    assert order(1) == order(1) != order(2)
    assert len({tuple(line) for line in order(1)}) > 1


# Effects

FIRST = ("churn:live=100", "churn:live=200")
OFF = "rtmalloc[bin_max=4]"


def _pass(speed: float, peak: float = 1.0, seed: int = 1, rounds: int = 9, **changes: Any) -> Results:
    """A run in which the first switch's default has `speed` and `peak` times what its off side has."""
    noise = random.Random(seed)

    def cell(name: str, number: int, label: str, threads: int, s: float, p: float) -> dict[str, Any]:
        throughput, size = 1e6 * s * noise.gauss(1, 0.004), int(10 * MIB * p * noise.gauss(1, 0.004))
        return make_cell(name, number, throughput, size, label, threads, **changes)  # its CPU time is always 1 s

    cells = []
    for number in range(rounds):
        for label in FIRST:
            cells += [cell("rtmalloc", number, label, 1, speed, peak), cell(OFF, number, label, 1, 1, 1)]
        for label, threads in (("larson", 1), ("xmalloc", 2)):
            cells += [cell(name, number, label, threads, 1, 1) for name in ("rtmalloc", OFF)]
    return make_results(cells)


def _first(declared: Declaration, one: Results, two: Results | None) -> SwitchEffects:
    return effects_of(declared, select(declared.items, ["first"]), one, two)[0]


def _verdicts(of: SwitchEffects) -> dict[str, Verdict]:
    return {e.measure.name: e.verdict for e in of.moved}


def test_a_repeat_confirms_direction_and_significance(declared: Declaration) -> None:
    found = _first(declared, _pass(1.2, 0.8), _pass(1.2, 0.8, seed=2))
    assert _verdicts(found) == {
        "throughput": Verdict.BETTER,
        "cpu": Verdict.BETTER,
        "peak": Verdict.BETTER,
        "steady": Verdict.BETTER,
        "fragmentation": Verdict.BETTER,
    }
    speed = found.effect("throughput").both
    assert speed is not None and speed.ratio == pytest.approx(1.2, rel=0.01) and speed.low > 1 and speed.rounds == 18
    assert {e.verdict for e in found.stood} == {Verdict.NOT_SEPARABLE}


def test_a_loss_is_told_as_one(declared: Declaration) -> None:
    verdicts = _verdicts(_first(declared, _pass(0.8, 1.2), _pass(0.8, 1.2, seed=2)))
    assert verdicts["throughput"] is verdicts["peak"] is Verdict.WORSE


@pytest.mark.parametrize("second", [1.0, 0.8])
def test_what_the_repeat_does_not_see_is_not_separable(declared: Declaration, second: float) -> None:
    found = _first(declared, _pass(1.2), _pass(second, seed=2))
    assert _verdicts(found)["throughput"] is Verdict.NOT_SEPARABLE
    assert "not separable [" in summary_lines([found])[1][0][5]


def test_a_difference_below_one_percent_is_not_claimed(declared: Declaration) -> None:
    passes = [_pass(1.0), _pass(1.0, seed=2)]
    for results in passes:
        for cell in results.cells:  # exactly half a percent in every round: significant, and below the A/A limit
            cell["throughput"] = 1005.0 if cell["contender"] == "rtmalloc" else 1000.0
            cell["operations"] = 1000
    found = _first(declared, *passes)
    first = found.effect("throughput").first
    assert first is not None and first.significant and first.low > 1
    assert _verdicts(found)["throughput"] is Verdict.NOT_SEPARABLE


def test_without_a_repeat_nothing_is_confirmed(declared: Declaration) -> None:
    found = _first(declared, _pass(1.2), None)
    assert _verdicts(found)["throughput"] is Verdict.UNCONFIRMED
    assert "unconfirmed [" in summary_lines([found])[1][0][5]


def test_few_rounds_give_no_verdict(declared: Declaration) -> None:
    found = _first(declared, _pass(2.0, rounds=5), _pass(2.0, rounds=5))
    assert _verdicts(found)["throughput"] is Verdict.NONE


def test_a_failed_cell_is_told_and_takes_its_round_with_it(declared: Declaration) -> None:
    one, two = _pass(1.2), _pass(1.2, seed=2)
    kept = [c for c in one.cells if (c["label"], c["contender"], c["round"]) != (FIRST[0], OFF, 0)]
    one = make_results([*kept, failed_cell(OFF, 0, "killed by SIGSEGV", label=FIRST[0])])
    found = _first(declared, one, two)
    first = found.effect("throughput").first
    assert first is not None and first.rounds == 8
    assert notes([found], 0.1) == [f"failed: {OFF} in {FIRST[0]} x1: killed by SIGSEGV"]


def test_a_workload_that_does_not_count_its_bytes_has_no_fragmentation(declared: Declaration) -> None:
    found = _first(declared, _pass(1.2, live_bytes=-1), _pass(1.2, live_bytes=-1))
    assert _verdicts(found)["fragmentation"] is Verdict.MISSING
    assert summary_lines([found])[1][0][9] == "-"


def test_steady_is_the_end_of_the_last_idling_or_of_the_window() -> None:
    moments = (("filled", 9), ("idle 0 s", 8), ("idle 1 s", 3), ("refilled", 9))
    marks = [{"name": n, "at": 0.0, "rss_bytes": size * MIB, "live_bytes": MIB} for n, size in moments]
    assert steady_rss(make_cell("a", 0, 1.0, 10 * MIB, marks=marks)) == 3 * MIB
    seen = [*marks[:2], {**marks[2], "outside_rss_bytes": 2 * MIB}, marks[3]]
    assert steady_rss(make_cell("a", 0, 1.0, 10 * MIB, marks=seen)) == 2 * MIB
    assert steady_rss(make_cell("a", 0, 1.0, 10 * MIB, window_rss_bytes=4 * MIB)) == 4 * MIB


def test_cpu_time_counts_where_the_clock_was_disturbed(declared: Declaration) -> None:
    passes = [_pass(0.8, 1.2, seed=seed) for seed in (1, 2)]
    noise = random.Random(3)
    for results in passes:
        for cell in results.cells:
            cell["throughput"] *= noise.uniform(0.3, 1)
    found = _first(declared, *passes)
    assert _verdicts(found)["throughput"] is Verdict.NOT_SEPARABLE
    assert _verdicts(found)["cpu"] is Verdict.WORSE and found.default_loses


def test_a_default_that_loses_in_both_is_said_loudly(declared: Declaration) -> None:
    loses = _first(declared, _pass(0.8, 1.2), _pass(0.8, 1.2, seed=2))
    assert loses.default_loses
    assert notes([loses], 0.1)[0].startswith("THE DEFAULT LOSES: bin_max=4 (switch first) beats it")
    assert not _first(declared, _pass(1.2, 0.8), _pass(1.2, 0.8, seed=2)).default_loses
    assert not _first(declared, _pass(0.8, 0.8), _pass(0.8, 0.8, seed=2)).default_loses
    turned = replace(loses.switch, on=loses.switch.off, off=Side())
    swapped = replace(loses, switch=turned)
    assert not swapped.default_loses  # the same numbers, but now of an alternative that is slower and larger


# Text and picture


def test_idea_guess_and_measure_stand_side_by_side(declared: Declaration) -> None:
    found = [_first(declared, _pass(1.2, 0.8), _pass(1.2, 0.8, seed=2))]
    headings, lines = summary_lines(found)
    assert headings[5:10] == ("throughput", "CPU time/op", "peak RSS", "steady RSS", "RSS/live")
    assert lines[0][:5] == ("3", "First idea", "++ - -", "first", "default / bin_max=4")
    assert lines[0][5].startswith("1.2") and lines[0][10] == "no change"
    assert len(detail_lines(found)[1]) == 4
    text = markdown(found, 0.9, details=True)
    assert "| 3 | First idea | ++ - - | first | default / bin_max=4 | 1.2" in text and "| larson x1 | no |" in text
    assert "up to 90% of the cells were disturbed" in text
    assert "| larson x1 | no |" not in markdown(found, 0.9)


def test_the_picture_names_every_switch_and_is_the_same_for_the_same_data(
    declared: Declaration, tmp_path: Path
) -> None:
    found = effects_of(declared, declared.items, _pass(3.0, 0.8), _pass(3.0, 0.8, seed=2))
    one, two = (draw_ablation(found, tmp_path / name, "title") for name in ("a", "b"))
    assert [path.name for path in one] == ["ablation.png", "ablation.svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    text = one[1].read_text()
    for part in ("First idea", "second", "confirmed gain", "throughput", ">++<"):
        assert part in text


def test_the_picture_of_all_ideas_can_be_read_on_a_page(workloads: dict[str, Workload]) -> None:
    declaration = read(ROWS, workloads)
    nothing = make_results([make_cell("other", 0, 1.0)])
    found = effects_of(declaration, declaration.items, nothing, nothing)
    with pleasant():
        figure = ablation_figure(found, "title")
        figure.canvas.draw()
        texts = [t for t in figure.findobj(Text) if t.get_text().strip()]
        assert figure.get_figwidth() == WIDE and min(float(t.get_fontsize()) for t in texts) >= SMALL
        for text in texts:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()
        plt.close(figure)
