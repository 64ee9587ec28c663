"""The command `ablate`: two passes of real cells, interrupted runs, older repeats, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_harness.ablation import command as ablate_command
from bench_harness.commands.cli import main
from bench_harness.measuring.plan import Plan
from bench_harness.measuring.store import Journal, Results, load, save
from tests.bench_harness.conftest import make_cell


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command writes by default must not land in the checkout."""
    monkeypatch.chdir(tmp_path)


TINY = ["--seconds", "0.02", "--warmup", "0", "--retries", "0"]


def _run(rows: Path, *more: str) -> int:
    return main(["ablate", "--rows", str(rows), *TINY, *more])


def test_the_list_shows_sides_and_workloads(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(rows, "--list") == 0
    text = capsys.readouterr().out
    for part in ("3  First idea", "guess: speed ++", "default against bin_max=4", "should not: larson x1, xmalloc x2"):
        assert part in text
    assert not Path("results").exists()


def test_two_passes_of_real_cells(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(rows, "--repeat", "2", "--details", "--markdown", "t.md") == 0
    text = capsys.readouterr().out
    announced = "2 switches of 2 ideas, 5 groups of cells, 12 cells a round, 2 rounds, 2 passes: about"
    assert text.index(announced) < text.index("[1/24]")
    assert "too few rounds [" in text and "failed" not in text
    first, second = load(Path("results/ablation.json")), load(Path("results/ablation-again.json"))
    assert len(first.cells) == len(second.cells) == 24
    assert {c["status"] for c in first.cells} == {"ok"}
    assert second.header["settings"]["seed"] == first.header["settings"]["seed"] + 1
    assert Path("plots/ablation.png").exists() and "| second |" in Path("t.md").read_text()

    assert _run(rows, "--show", "results/ablation.json", "first") == 0
    text = capsys.readouterr().out
    assert "First idea" in text and "Second idea" not in text and "cells, about" not in text

    assert _run(rows, "--repeat", "2", "--confirm", "results/ablation.json", "--json", "new.json") == 0
    assert "2 rounds, 1 pass: about" in capsys.readouterr().out
    assert not Path("new-again.json").exists()


def test_an_interrupted_run_goes_on_in_either_pass(
    rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the first pass and in the second, it runs every cell once."""
    from bench_harness.measuring import run as run_module

    real = run_module.run_plan
    ran: list[tuple[int, Any]] = []
    left = [0]

    def execute(cell: Any, plan: Plan, machine: str) -> dict[str, Any]:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        ran.append((plan.seed, cell.key))
        label, threads, name, number = cell.key
        return make_cell(name, number, 100.0, label=label, threads=threads, machine=machine)

    def run_plan(plan: Plan, target: Path, argv: Any, progress: Any, resume: bool) -> Results:
        return real(plan, target, argv, progress, resume, execute=execute)

    monkeypatch.setattr("bench_harness.commands.measure.run_plan", run_plan)
    left[0] = 10
    assert _run(rows, "--repeat", "3") == 130
    assert "--resume" in capsys.readouterr().out and not Path("results/ablation.json").exists()
    left[0] = 36  # the other 26 of the first pass, 10 of the second
    assert _run(rows, "--repeat", "3", "--resume") == 130
    assert load(Path("results/ablation.json")).header["settings"]["seed"] == 4141
    assert _run(rows, "--show", "results/ablation.json") == 0  # with what the second pass has so far
    assert "Second idea" in capsys.readouterr().out
    assert Journal(Path("results/ablation-again.json")).read() is not None
    left[0] = 26
    assert _run(rows, "--repeat", "3", "--resume") == 0
    assert left[0] == 0 and len(ran) == len(set(ran)) == 72
    assert len(load(Path("results/ablation-again.json")).cells) == 36


def test_an_older_repeat_is_not_taken_for_this_run(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(rows, "first", "--repeat", "1") == 0
    old = Path("results/ablation-again.json").read_text()
    assert _run(rows, "first", "--repeat", "1") == 0
    assert Path("results/ablation-again.json").read_text() != old


def test_a_repeat_of_other_binaries_confirms_nothing(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(rows, "first", "--repeat", "1") == 0
    other = load(Path("results/ablation.json"))
    other.header["allocators"]["rtmalloc"]["sha256"] = "0" * 64
    save(other, Path("other.json"))
    assert _run(rows, "first", "--repeat", "1", "--confirm", "other.json") == 1
    assert "--confirm other.json: rtmalloc is another binary there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["ablate", "99"], 2, "ablate 99: no such idea; numbers are "),
        (["ablate", "--rows", "none.toml"], 1, "none.toml: No such file"),
        (["ablate", "--show", "none.json"], 1, "none.json: No such file"),
        (["ablate", "--confirm", "none.json", "purge"], 1, "none.json: No such file"),
        (["ablate", "--repeat", "0"], 2, "must be a whole number from 1"),
    ],
)
def test_a_bad_argument_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    try:
        found = main(arguments)
    except SystemExit as stop:
        found = int(str(stop.code))
    captured = capsys.readouterr()
    assert found == status
    assert message in captured.err and len(captured.err.splitlines()) == 1


def test_results_without_a_switch_are_not_shown_as_if_they_had_it(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(rows, "first", "--repeat", "1") == 0
    assert _run(rows, "--show", "results/ablation.json") == 2
    assert "no cells of the switches second; name those that are to be shown" in capsys.readouterr().err


def test_the_repeat_lies_beside_its_run() -> None:
    assert ablate_command.again(Path("a/b.json")) == Path("a/b-again.json")
