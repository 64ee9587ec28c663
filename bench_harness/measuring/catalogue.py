"""The workloads: found by looking into the folder, described by themselves."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_harness.errors import HarnessError, UsageError
from bench_harness.native.build import BIN, WORKLOADS, workload_sources
from bench_harness.tracing.files import prepare

__all__ = ["COMMON", "Parameter", "Workload", "find_workloads", "parse_workload"]

PYTHON_WORKLOADS = WORKLOADS / "python"
PROGRAMS = WORKLOADS / "programs"
# Parameters that every cell has and the command line sets by options of its own.
COMMON = ("threads", "seconds", "warmup", "gate")


@dataclass(frozen=True)
class Parameter:
    """A declared parameter: a number in smallest..largest counted in `unit`, one word of `choices`, or a file."""

    name: str
    help: str
    unit: str = ""
    kind: str = "integer"
    default: float | str = 0
    smallest: float = 0
    largest: float = 0
    choices: tuple[str, ...] = ()

    def check(self, text: str) -> None:
        """Raise UsageError unless `text` is a valid value; HarnessError when a file is damaged."""
        if self.kind == "file":
            prepare(text)
            return
        if self.choices:
            if text not in self.choices:
                raise UsageError(f"{self.name}={text}: must be one of {', '.join(self.choices)}")
            return
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        whole = self.kind == "integer"
        if not self.smallest <= value <= self.largest or (whole and value != int(value)):
            raise UsageError(
                f"{self.name}={text}: must be a {'whole ' if whole else ''}number from "
                f"{self.smallest:.10g} to {self.largest:.10g} {self.unit}".rstrip()
            )


@dataclass(frozen=True)
class Workload:
    """One workload.

    `kind` is "native" (an executable), "python" (a script run under a route) or "program" (a script that drives a real
    program under the allocator). `takes_seconds` is the time that a fixed amount of work takes with default
    parameters; 0 when the clock decides. `missing` says what a program needs and this machine has not.
    """

    name: str
    kind: str
    description: str
    operation: str
    parameters: tuple[Parameter, ...]
    path: Path
    takes_seconds: float = 0.0
    missing: str = ""

    def check(self, values: Mapping[str, str]) -> None:
        """Raise UsageError unless all `values` name parameters of this workload and are valid."""
        known = {p.name: p for p in self.parameters if p.name not in COMMON}
        for name, text in values.items():
            if name not in known:
                raise UsageError(f"workload {self.name} has no parameter {name}; valid are {', '.join(known)}")
            known[name].check(text)

    def thread_counts(self, wanted: Sequence[int]) -> list[int]:
        """Those of the wanted numbers of threads that the workload can run; 1 when it can run none."""
        most = next((p.largest for p in self.parameters if p.name == "threads"), 1)
        return [n for n in wanted if n <= most] or [1]

    @property
    def _files(self) -> list[Parameter]:
        return [p for p in self.parameters if p.kind == "file"]

    def arguments(self, values: Mapping[str, str]) -> dict[str, str]:
        """The values as the cell's process takes them: a file as the path of what it reads, also where none is given.

        Raises:
            HarnessError: a file is not there, or is damaged.
        """
        files = {p.name: str(prepare(values.get(p.name, str(p.default)))) for p in self._files}
        return {**values, **files}

    def takes(self, values: Sequence[tuple[str, str]]) -> float:
        """Seconds that a fixed amount of work takes with these parameters; 0 when the clock decides."""
        if self.kind != "native" or not (self._files or (self.takes_seconds and values)):
            return self.takes_seconds
        arguments = tuple(f"{name}={value}" for name, value in self.arguments(dict(values)).items())
        return float(_describe(self.path, arguments)["takes_seconds"])


@functools.cache
def _describe(executable: Path, arguments: tuple[str, ...]) -> dict[str, Any]:
    """What a cell says of itself.

    Raises:
        HarnessError: it does not run, or says no JSON.
    """
    try:
        command = [str(executable), "--describe", *arguments]
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        fields: dict[str, Any] = json.loads(said.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise HarnessError(
            f"workload {executable.name} does not describe itself ({error}); run python -m bench_harness.native.build"
        ) from error
    return fields


def _parameter(fields: Mapping[str, Any]) -> Parameter:
    if "choices" in fields:
        choices = tuple(fields["choices"].split("|"))
        return Parameter(fields["name"], fields["help"], kind="choice", default=choices[0], choices=choices)
    if fields["type"] == "file":
        return Parameter(fields["name"], fields["help"], kind="file", default=fields["default"])
    return Parameter(
        fields["name"],
        fields["help"],
        fields["unit"],
        fields["type"],
        fields["default"],
        fields["smallest"],
        fields["largest"],
    )


def _native(source: Path) -> Workload:
    executable = BIN / source.stem
    _describe.cache_clear()  # it may have been built anew
    fields = _describe(executable, ())
    parameters = tuple(_parameter(p) for p in fields["parameters"])
    return Workload(
        fields["name"],
        "native",
        fields["description"],
        fields["operation"],
        parameters,
        executable,
        fields["takes_seconds"],
    )


def _missing(needs: Sequence[str]) -> str:
    """The first of the executables (`a|b`: either) and `module:NAME`s that is not here, as a reason; or nothing."""
    for need in needs:
        kind, _, module = need.partition(":")
        if kind == "module" and importlib.util.find_spec(module) is None:
            return f"the Python package {module} is not installed"
        if kind != "module" and not any(shutil.which(name) for name in need.split("|")):
            return f"{' or '.join(need.split('|'))} is not installed"
    return ""


def _script(script: Path, kind: str) -> Workload:
    """Read a script's docstring, OPERATION and PARAMETERS without running it."""
    tree = ast.parse(script.read_text(), str(script))
    constants: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("OPERATION", "PARAMETERS", "TAKES_SECONDS", "NEEDS"):
                constants[name] = ast.literal_eval(node.value)
    if not {"OPERATION", "PARAMETERS"} <= set(constants):
        raise HarnessError(f"{script}: a workload in Python declares OPERATION and PARAMETERS as literals")
    description = (ast.get_docstring(tree) or "").split("\n")[0].partition(": ")[2].rstrip(".")
    parameters = tuple(
        Parameter(name, text, unit, "real" if isinstance(default, float) else "integer", default, low, high)
        for name, default, low, high, unit, text in (*constants["PARAMETERS"], *_PYTHON_COMMON)
    )
    return Workload(
        script.stem,
        kind,
        description,
        constants["OPERATION"],
        parameters,
        script,
        float(constants.get("TAKES_SECONDS", 0)),
        _missing(constants.get("NEEDS", ())),
    )


_PYTHON_COMMON = (
    ("threads", 1, 1, 1, "threads", "one: the GIL would serialise more"),
    ("seconds", 1.0, 0.001, 3600.0, "s", "length of the measured window"),
    ("warmup", 0.2, 0.0, 600.0, "s", "time before the window"),
    ("ops", 0, 0, 1 << 50, "operations", "operations per thread instead of the clock; 0 = clock"),
    ("seed", 4141, 0, 1 << 50, "", "seed of every random number"),
    ("gate", 0, 0, 1, "", "1: wait for end of input before exit"),
)


def find_workloads() -> dict[str, Workload]:
    """All workloads by name: every `workloads/*.pyx`, `python/*.py` and `programs/*.py` there without a leading `_`.

    Raises:
        HarnessError: a native cell is not built, or a script declares nothing.
    """
    found = {source.stem: _native(source) for source in workload_sources()}
    for folder, kind in ((PYTHON_WORKLOADS, "python"), (PROGRAMS, "program")):
        for script in sorted(folder.glob("[!_]*.py")):
            found[script.stem] = _script(script, kind)
    return found


def parse_workload(text: str, found: Mapping[str, Workload]) -> tuple[Workload, dict[str, str]]:
    """Read `NAME` or `NAME:param=value,param=value`.

    Raises:
        UsageError: no such workload, no such parameter, or a value out of range.
    """
    name, _, rest = text.partition(":")
    if name not in found:
        raise UsageError(f"--workload {name}: unknown; valid are {', '.join(found)}")
    values: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--workload {text}: parameters are written name=value, separated by commas")
        values[key] = value
    found[name].check(values)
    return found[name], values
