"""The command line end to end, with small cells, and its errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench_harness.commands.cli import main
from bench_harness.measuring.store import Journal, Results, load, save
from tests.bench_harness.conftest import make_results

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--seconds", "0.03", "--warmup", "0", "--retries", "0", "--threads", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command writes by default must not land in the checkout."""
    monkeypatch.chdir(tmp_path)


def test_list_shows_workloads_allocators_and_routes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for part in (
        "larson (native)",
        "slots=5000",
        "glibc: glibc 2",
        "noop",
        "documents (python)",
        "pymalloc:",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--workload", "larsen"], "--workload larsen: unknown; valid are burst, churn"),
        (["run", "--workload", "churn:size=3"], "no parameter size; valid are min, max, live, ops, seed"),
        (["run", "--workload", "churn:live=0"], "live=0: must be a whole number from 1 to"),
        (["run", "--workload", "churn:live"], "written name=value"),
        (["run", "--workload", "burst:order=up"], "order=up: must be one of random, age"),
        (["run", "--allocator", "hoard"], "--allocator hoard: unknown; found are glibc"),
        (["run", "--allocator", "x=/no/such.so"], "no such file: /no/such.so"),
        (["run", "--allocator", "a b=/bin/true"], "a name is made of letters"),
        (["run", "--set", "glibc"], "must be NAME.OPTION=VALUE"),
        (["run", "--set", "hoard.x=1"], "with NAME one of glibc"),
        (["run", "--set", "rtmalloc.foo=1"], "--set rtmalloc.foo=1: rtmalloc has no option foo; it has address_order"),
        (["run", "--allocator", "glibc:small"], "no such preset; glibc has default, low-memory"),
        (["run", "--threads", "0"], "must be numbers from 1 to 4096"),
        (["run", "--threads", "two"], "must be numbers from 1 to 4096"),
        (["run", "--seconds", "nan"], "must be a number from 0.01"),
        (["run", "--repeat", "0"], "must be a whole number from 1"),
        (["run", "--base", "hoard"], "--base hoard: not in this run; there are glibc"),
        (
            ["run", "--workload", "strings", "--route", "tunnel"],
            "--route tunnel: unknown; valid are pymalloc",
        ),
        (["run", "--python", "/no/python"], "no such interpreter"),
        (["fly"], "invalid choice: 'fly'"),
        ([], "required: COMMAND"),
    ],
)
def test_a_bad_argument_is_one_line_that_lists_what_is_valid(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(str(stop.code))
    captured = capsys.readouterr()
    assert status == 2
    assert message in captured.err and len(captured.err.splitlines()) == 1


def test_run_writes_results_table_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.json"
    status = main(
        [
            "run",
            *TINY,
            "--workload",
            "churn:live=100",
            "--allocator",
            "glibc",
            "--repeat",
            "2",
            "--json",
            str(out),
            "--plots",
            str(tmp_path / "p"),
        ]
    )
    assert status == 0
    text = capsys.readouterr().out
    assert "churn:live=100, 1 thread" in text and "(loop overhead)" in text
    results = load(out)
    assert {(c["contender"], c["status"]) for c in results.cells} == {("glibc", "ok"), ("noop", "ok")}
    assert (tmp_path / "p" / "churn-live-100.png").exists()
    assert results.header["command"][0] == "bench-harness"


def test_a_variant_is_a_contender_of_its_own(
    tmp_path: Path, cells: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.json"
    library = f"known={cells['libknown.so']}"
    assert (
        main(
            [
                "run",
                *TINY,
                "--workload",
                "churn",
                "--allocator",
                library,
                "--set",
                "known.a=1,b=2",
                "--repeat",
                "1",
                "--json",
                str(out),
            ]
        )
        == 0
    )
    assert "known[a=1,b=2]" in capsys.readouterr().out.split("geometric means")[0].split("op/s, median")[1]
    results = load(out)
    assert {c["contender"] for c in results.cells} == {"known", "known[a=1,b=2]", "noop"}
    assert results.header["allocators"]["known[a=1,b=2]"]["environment"] == {"KNOWN_OPTIONS": "a=1,b=2"}


def test_when_nothing_could_be_measured_the_status_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "libbroken.so"
    broken.write_text("not a library")
    status = main(["run", *TINY, "--workload", "churn", "--allocator", f"broken={broken}", "--repeat", "1"])
    text = capsys.readouterr().out
    assert "failed: broken (1 x): malloc was served by" in text
    assert status == 0  # the no-op probe ran
    results = load(Path("results/last.json"))
    assert {c["status"] for c in results.cells if c["contender"] == "broken"} == {"failed"}


def test_the_commands_on_files(sample: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, one = (tmp_path / f"{name}.json" for name in ("a", "b", "one"))
    save(sample, a)
    save(sample, b)
    save(make_results([cell for cell in sample.cells if cell["label"] == "burst"]), one)  # drawing takes seconds
    assert main(["ratio", str(a), "--base", "jemalloc"]) == 0
    assert "ratios to jemalloc" in capsys.readouterr().out
    assert main(["compare", str(a), str(b)]) == 0
    assert "no significant difference in any of 12 cells" in capsys.readouterr().out
    assert main(["plot", str(one), "--out", str(tmp_path / "p")]) == 0
    assert (tmp_path / "p" / "ratios.svg").exists()
    assert main(["report", str(one), "--out", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert main(["ratio", str(tmp_path / "none.json")]) == 1
    assert main(["ratio", str(a), "--base", "hoard"]) == 2


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    """A real ctrl-C: the process group gets SIGINT in the middle of a cell."""
    out = tmp_path / "r.json"
    options = "--workload churn --allocator glibc --threads 1 --seconds 0.3 --warmup 0 --retries 0 --repeat 4"
    command = [sys.executable, "-m", "bench_harness", "run", *options.split(), "--json", str(out)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
        # In the background of a shell it is ignored, and the child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = Journal(out)
    deadline = time.monotonic() + 60
    while (kept := journal.read()) is None or len(kept.cells) < 2:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGINT)
    text, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "--resume" in text and not out.exists()
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, env=env, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "cells are there already" in again.stdout
    assert len(load(out).cells) == 4 + 3 and journal.read() is None


def test_module_and_version() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run([sys.executable, "-m", "bench_harness", "--version"], capture_output=True, text=True, env=env)
    assert said.returncode == 0 and said.stdout.startswith("bench-harness ")


def test_a_preset_is_named_with_its_version_in_table_and_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.json"
    options = [*TINY, "--workload", "churn", "--allocator", "glibc", "--allocator", "glibc:low-memory", "--repeat", "1"]
    assert main(["run", *options, "--json", str(out), "--plots", str(tmp_path / "p")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  glibc:low-memory   2."))
    assert "±" not in line and "[" not in line, "one round has no interval"
    results = load(out)
    entry = results.header["allocators"]["glibc:low-memory"]
    assert entry["preset"] == "low-memory" and entry["version"].startswith("glibc 2.")
    assert (tmp_path / "p" / "churn.png").exists() and (tmp_path / "p" / "phone" / "churn.png").exists()


@pytest.mark.parametrize("missing", ["rich", "psutil", "numpy", "jsonschema"])
def test_without_its_extra_every_command_is_one_sentence(missing: str) -> None:
    block = f"import sys; sys.modules[{missing!r}] = None; from bench_harness.__main__ import main; sys.exit(main())"
    said = subprocess.run(
        [sys.executable, "-c", block, "list"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert said.returncode == 1
    assert re.fullmatch(rf"bench-harness needs {missing}: pip install '\S+\[bench\]'\n", said.stderr)


def test_results_are_plain_json_for_others(tmp_path: Path, sample: Results) -> None:
    save(sample, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["cells"][0]["contender"] == "glibc"
