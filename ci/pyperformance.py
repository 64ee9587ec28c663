#!/usr/bin/env python3
"""pyperformance's benchmarks on three routes: pymalloc, the preload library as the launcher sets it up, install().

    make pyperformance                            set up, run what has not been run, show the table
    ci/pyperformance.py --seconds 240             the same, but begin nothing new after four minutes: call it again
    ci/pyperformance.py --report                  only the table

In each round every benchmark runs in one process per route, one route after the other, the first one in turn. A process
gives up to three values and its peak RSS. Each result is a file in --out, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SWITCH = "RTMALLOC_PERF_INSTALL"
PTH = (
    f"import os, sys; p = os.environ.get('{SWITCH}'); "
    "p and (sys.path.append(p), __import__('rtmalloc').install(), sys.path.remove(p))\n"
)
"""Puts the install() route into an environment: a .pth file runs before the benchmark does."""

CLOCK = "RTMALLOC_PERF_CLOCK"
PTH_CLOCK = (
    f"import os, time; os.environ.get('{CLOCK}') == 'cpu' and setattr(time, 'perf_counter', time.process_time)\n"
)
"""Makes pyperf measure CPU time: on a machine with other work, wall-clock time says more of that than of us."""

PACKAGES = [
    "pyperformance==1.14.0",
    "html5lib",
    "sympy",
    "docutils",
    "chameleon",
    "tornado",
    "tomli",
    "pyaes",
    "setuptools<80",
]
ARGUMENTS = {
    "pickle_pure": ("pickle", ["--pure-python", "pickle"]),
    "unpickle_pure": ("pickle", ["--pure-python", "unpickle"]),
    "pickle": ("pickle", ["pickle"]),
    "unpickle": ("pickle", ["unpickle"]),
    "pickle_dict": ("pickle", ["pickle_dict"]),
    "scimark_sparse": ("scimark", ["sparse_mat_mult"]),
    "xml_etree": ("xml_etree", ["--etree-module", "xml.etree.ElementTree", "process"]),
    "xml_etree_parse": ("xml_etree", ["--etree-module", "xml.etree.ElementTree", "parse"]),
    "logging": ("logging", ["simple"]),
    "sympy": ("sympy", ["sum"]),
    "sympy_str": ("sympy", ["str"]),
    "async_tree": ("async_tree", ["none"]),
    "crypto_pyaes": ("crypto_pyaes", []),
}
"""What stands behind a name that is not just the folder ``bm_NAME``."""

NAMES = """
    async_generators async_tree chameleon chaos comprehensions coroutines deepcopy deltablue float gc_traversal
    generators go hexiom html5lib json_dumps json_loads logging nqueens pathlib pickle pickle_pure pyflate
    raytrace regex_compile richards sqlite_synth sympy telco tomli_loads tornado_http unpickle_pure xml_etree
    xml_etree_parse
"""
ROUTES = ("pymalloc", "launcher", "install")
LONG = 0.4
"""Seconds of a value from which one value per process is enough."""


@dataclass(frozen=True)
class Setting:
    """Where everything is."""

    python: Path
    """Interpreter of the environment that has pyperformance."""
    out: Path
    """Folder of the results."""
    source: Path
    """A checkout, or a site-packages, that has rtmalloc, built."""
    clock: str
    """``cpu`` or ``wall``."""

    def benchmarks(self) -> Path:
        """The folder of pyperformance's benchmarks; the .pth file is put beside the package."""
        where = [str(self.python), "-c", "import pyperformance; print(pyperformance.__file__)"]
        package = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()).parent
        (package.parent / "rtmalloc_perf.pth").write_text(PTH + PTH_CLOCK)
        return package / "data-files" / "benchmarks"

    def file(self, name: str, route: str, number: int) -> Path:
        """The result of one process."""
        return self.out / f"{name}.{route}.{number}.json"

    def environment(self, route: str) -> dict[str, str]:
        """The variables of a route."""
        ours = ("LD_PRELOAD", "RTMALLOC_OPTIONS", "PYTHONPATH", "PYTHONMALLOC", "PYTHONDONTWRITEBYTECODE", SWITCH)
        env = {name: value for name, value in os.environ.items() if name not in ours}
        env[CLOCK] = self.clock
        if route == "launcher":
            env["LD_PRELOAD"] = str(self.source / "rtmalloc" / "lib" / "librtmalloc.so")
            env["RTMALLOC_OPTIONS"] = "background_thread=1"
        if route == "install":
            env[SWITCH] = str(self.source)
        return env


def environment_with_pyperformance(folder: Path) -> Path:
    """Make a virtual environment for the benchmarks unless it is there; its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True
        )
    return python


def values_of(file: Path) -> tuple[list[float], float, int]:
    """Seconds of each value, peak RSS in MiB (NaN when unknown), and loops per value of one process."""
    found: dict[str, Any] = json.loads(file.read_text())
    common = found.get("metadata", {})
    values: list[float] = []
    peak, loops = math.nan, 1
    for benchmark in found["benchmarks"]:
        for run in benchmark["runs"]:
            if "values" in run:
                metadata = {**common, **benchmark.get("metadata", {}), **run.get("metadata", {})}
                values += run["values"]
                peak = metadata.get("mem_max_rss", math.nan) / 2**20
                loops = metadata.get("loops", 1)
    return values, peak, loops


def measure(setting: Setting, script: Path, name: str, route: str, number: int) -> str | None:
    """Run one process; None, or why it failed."""
    first = setting.file(name, ROUTES[0], 0)
    how = ["-p", "1", "-n", "3", "-w", "1"]
    if first.exists():
        # The first process of all found out how many loops make a value; the others do the same number.
        values, _, loops = values_of(first)
        how = ["-p", "1", "-n", "1" if values[0] * loops > LONG else "3", "-w", "1", "-l", str(loops)]
    fresh = setting.out / "fresh.json"
    fresh.unlink(missing_ok=True)
    variables = ["--inherit-environ", f"LD_PRELOAD,RTMALLOC_OPTIONS,{SWITCH},{CLOCK}"]
    arguments = ARGUMENTS.get(name, (name, []))[1]
    command: list[str | Path] = [setting.python, script, *arguments, *how, *variables, "--quiet", "-o", fresh]
    finished = subprocess.run(
        command, env=setting.environment(route), cwd=script.parent, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        return str((finished.stderr.strip().splitlines() or [f"exit status {finished.returncode}"])[-1])
    fresh.replace(setting.file(name, route, number))
    return None


def run(setting: Setting, names: list[str], rounds: int, seconds: float) -> bool:
    """Run what has no result yet, until the time is up; whether all is there."""
    benchmarks = setting.benchmarks()
    setting.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    failed = set()
    for number in range(rounds):
        for name in names:
            script = benchmarks / f"bm_{ARGUMENTS.get(name, (name, []))[0]}" / "run_benchmark.py"
            for i in range(len(ROUTES)):
                # In the first round pymalloc comes first, because it finds out the number of loops.
                route = ROUTES[(i + number) % len(ROUTES)]
                if name in failed or setting.file(name, route, number).exists():
                    continue
                if time.monotonic() > deadline:
                    return False
                if why := measure(setting, script, name, route, number):
                    failed.add(name)
                    print(f"{name} on {route} failed: {why}", flush=True)
    return True


def geometric_mean(ratios: list[float]) -> float:
    """The mean for ratios."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


def report(setting: Setting, names: list[str]) -> None:
    """Print the table: ratios to pymalloc of the least time, the median time and the median peak RSS."""
    heads = ["benchmark", "pymalloc ms", "launcher least", "median", "install least", "median", "pymalloc MiB"]
    print("| " + " | ".join([*heads, "launcher", "install"]) + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    columns: dict[tuple[str, str], list[float]] = {}
    shown = 0
    for name in names:
        cells: dict[str, tuple[list[float], list[float]]] = {}
        for route in ROUTES:
            files = sorted(setting.out.glob(f"{name}.{route}.*.json"))
            read = [values_of(file) for file in files]
            cells[route] = [v for values, _, _ in read for v in values], [peak for _, peak, _ in read]
        if not all(cells[route][0] for route in ROUTES):
            continue
        shown += 1
        plain, plain_peaks = cells[ROUTES[0]]
        line = [name, f"{min(plain) * 1e3:.4g}"]
        for route in ROUTES[1:]:
            for kind, figure in (("least", min), ("median", statistics.median)):
                ratio = figure(cells[route][0]) / figure(plain)
                columns.setdefault((route, kind), []).append(ratio)
                line.append(f"{ratio:.3f}")
        line.append(f"{statistics.median(plain_peaks):.1f}")
        for route in ROUTES[1:]:
            ratio = statistics.median(cells[route][1]) / statistics.median(plain_peaks)
            if math.isnan(ratio):
                line.append("")
                continue
            columns.setdefault((route, "peak"), []).append(ratio)
            line.append(f"{ratio:.3f}")
        print("| " + " | ".join(line) + " |")
    if shown:
        order = [
            *((route, kind) for route in ROUTES[1:] for kind in ("least", "median")),
            *((r, "peak") for r in ROUTES[1:]),
        ]
        means = [f"**{geometric_mean(columns[key]):.3f}**" if columns.get(key) else "" for key in order]
        print(f"| geometric mean of {shown} | | {' | '.join(means[:4])} | | {' | '.join(means[4:])} |")


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--python", type=Path, help="interpreter of an environment with pyperformance; else one is made"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "pyperformance", help="folder for results")
    parser.add_argument("--source", type=Path, default=ROOT, help="checkout or site-packages that has rtmalloc, built")
    parser.add_argument("--rounds", type=int, default=5, help="processes per benchmark and route")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing new after so long")
    parser.add_argument(
        "--clock", choices=("cpu", "wall"), default="cpu", help="CPU time of the process, or elapsed time"
    )
    parser.add_argument("--report", action="store_true", help="only show what has been measured")
    parser.add_argument("--fresh", action="store_true", help="drop earlier results first")
    parser.add_argument("names", nargs="*", help="benchmarks; all of the list when none is given")
    arguments = parser.parse_args()
    names = arguments.names or NAMES.split()
    if arguments.fresh:
        shutil.rmtree(arguments.out, ignore_errors=True)
    # Not resolved: a virtual environment's interpreter is a link.
    python = (
        Path(os.path.abspath(arguments.python))
        if arguments.python
        else arguments.out.parent / "pyperformance-venv" / "bin" / "python"
    )
    setting = Setting(python, arguments.out.resolve(), arguments.source.resolve(), arguments.clock)
    if not arguments.report:
        environment_with_pyperformance(python.parents[1])
        if not run(setting, names, arguments.rounds, arguments.seconds):
            print("not all has been measured: call it again")
            return
    report(setting, names)


if __name__ == "__main__":
    main()
