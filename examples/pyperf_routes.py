"""pyperformance's benchmarks by three routes in turn: pymalloc, the preload library, install(). Prints a table.

    python -m venv perf && perf/bin/pip install pyperformance html5lib mako sympy docutils sqlglot chameleon
    python examples/pyperf_routes.py --python perf/bin/python --out results/pyperf json_dumps sympy ...
    python examples/pyperf_routes.py --python perf/bin/python --out results/pyperf --report

A benchmark's name is that of pyperformance's folder without ``bm_``; some have an argument behind a colon here. The
install() route goes through a .pth file, which this script writes into the environment's site-packages.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1]
SWITCH = "RTMALLOC_PERF_INSTALL"
PTH = (
    f"import os, sys; p = os.environ.get('{SWITCH}'); "
    "p and (sys.path.append(p), __import__('rtmalloc').install(), sys.path.remove(p))\n"
)
ARGUMENTS = {
    "pickle_pure": ("pickle", ["--pure-python", "pickle"]),
    "unpickle_pure": ("pickle", ["--pure-python", "unpickle"]),
    "xml_etree": ("xml_etree", ["--etree-module", "xml.etree.ElementTree", "process"]),
    "logging": ("logging", ["simple"]),
    "sqlglot_parse": ("sqlglot", ["parse"]),
    "sqlglot_optimize": ("sqlglot", ["optimize"]),
    "sympy": ("sympy", ["sum"]),
    "async_tree": ("async_tree", ["none"]),
}
ROUTES = ("pymalloc", "launcher", "install")


def environment(route: str, source: Path) -> dict[str, str]:
    """The variables of a route."""
    env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "RTMALLOC_OPTIONS", "PYTHONPATH", SWITCH)}
    if route == "launcher":
        env["LD_PRELOAD"] = str(source / "rtmalloc" / "lib" / "librtmalloc.so")
        env["RTMALLOC_OPTIONS"] = "background_thread=1"
    if route == "install":
        env[SWITCH] = str(source)
    return env


def run(python: Path, out: Path, source: Path, names: list[str]) -> None:
    """Run every benchmark by every route."""
    where = [str(python), "-c", "import pyperformance, sysconfig; print(pyperformance.__file__)"]
    package = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()).parent
    (package.parent / "rtmalloc_perf.pth").write_text(PTH)
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        folder, extra = ARGUMENTS.get(name, (name, []))
        script = package / "data-files" / "benchmarks" / f"bm_{folder}" / "run_benchmark.py"
        for route in ROUTES:
            file = (out / f"{name}.{route}.json").resolve()
            file.unlink(missing_ok=True)
            how = ["-p", "3", "-n", "2", "-w", "1", "--quiet", "-o", str(file)]
            how += ["--inherit-environ", f"LD_PRELOAD,RTMALLOC_OPTIONS,{SWITCH}"]
            command = [str(python), str(script), *extra, *how]
            subprocess.run(command, check=True, env=environment(route, source), cwd=script.parent, capture_output=True)


def measured(file: Path) -> tuple[float, float]:
    """Seconds (the least of all values) and MiB (the median peak RSS of the processes) of one pyperf file.

    A benchmark that runs commands has no peak of its own: NaN.
    """
    found: dict[str, Any] = json.loads(file.read_text())
    runs = [run for benchmark in found["benchmarks"] for run in benchmark["runs"] if "values" in run]
    common = found.get("metadata", {})
    peaks = [{**common, **run.get("metadata", {})}.get("mem_max_rss", math.nan) for run in runs]
    return min(min(run["values"]) for run in runs), statistics.median(peaks) / 2**20


def report(out: Path) -> None:
    """Print the table of all benchmarks that have every route."""
    names = sorted(
        file.name.removesuffix(".pymalloc.json")
        for file in out.glob("*.pymalloc.json")
        if all((out / file.name.replace("pymalloc", route)).exists() for route in ROUTES)
    )
    print("| benchmark | pymalloc ms | launcher | install | pymalloc MiB | launcher | install |")
    print("|---|---|---|---|---|---|---|")
    ratios: dict[tuple[str, int], list[float]] = {}
    for name in names:
        cells = {route: measured(out / f"{name}.{route}.json") for route in ROUTES}
        line = [name]
        for part, unit in ((0, 1e3), (1, 1.0)):
            line.append(f"{cells['pymalloc'][part] * unit:.4g}")
            for route in ROUTES[1:]:
                ratio = cells[route][part] / cells["pymalloc"][part]
                if not math.isnan(ratio):
                    ratios.setdefault((route, part), []).append(ratio)
                line.append("" if math.isnan(ratio) else f"{ratio:.3f}")
        print("| " + " | ".join(line) + " |")
    means = {key: math.exp(statistics.fmean(map(math.log, values))) for key, values in ratios.items()}
    shown = [f"**{means[route, part]:.3f}**" for part in (0, 1) for route in ROUTES[1:]]
    print(f"| geometric mean of {len(names)} | | {shown[0]} | {shown[1]} | | {shown[2]} | {shown[3]} |")


def main() -> None:
    """Run benchmarks, or report what has been run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the environment with pyperformance")
    parser.add_argument("--out", type=Path, required=True, help="folder for pyperf's files")
    parser.add_argument(
        "--source", type=Path, default=SOURCE, help="checkout or site-packages that has rtmalloc, built"
    )
    parser.add_argument("--report", action="store_true", help="print the table instead of running")
    parser.add_argument("names", nargs="*", help="benchmarks to run")
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments.out)
    else:
        # Not resolved: a virtual environment's interpreter is a link.
        run(Path(os.path.abspath(arguments.python)), arguments.out, arguments.source.resolve(), arguments.names)


if __name__ == "__main__":
    main()
