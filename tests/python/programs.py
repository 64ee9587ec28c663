"""Programs under test: each runs in an interpreter of its own, on the route that the test names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import rtmalloc
from rtmalloc import _core

# The package under test: the checkout's, or an installed one.
SOURCE = Path(rtmalloc.__file__).resolve().parents[1]
LIBRARY = rtmalloc.library_path()
SECONDS = 60

# What a developer may have set, and what must not decide a test.
_OURS = ("LD_PRELOAD", "PYTHONMALLOC", "PYTHONTRACEMALLOC", "PYTHONDEVMODE", "RTMALLOC", "RTMALLOC_OPTIONS")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without anything that concerns allocators, plus `extra`."""
    env = {name: value for name, value in os.environ.items() if name not in _OURS}
    env["PYTHONPATH"] = str(SOURCE)
    env.update(extra or {})
    return env


def run(
    arguments: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    return subprocess.run(
        list(arguments),
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=cwd,
        input=text,
    )


def run_rtmalloc(
    *arguments: str | os.PathLike[str],
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run `python FLAGS -m rtmalloc ARGUMENTS`."""
    return run([sys.executable, *flags, "-m", "rtmalloc", *arguments], env, cwd, text, seconds)


def run_code(
    code: str,
    route: str = "plain",
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run `python -c code` on a route: "plain", "launcher" or "install" (install() before everything else)."""
    if route == "launcher":
        return run_rtmalloc("-c", code, flags=flags, env=env, seconds=seconds)
    if route == "install":
        code = "import rtmalloc; rtmalloc.install()\n" + code
    return run([sys.executable, *flags, "-c", code], env, seconds=seconds)


def succeed(finished: subprocess.CompletedProcess[str]) -> str:
    """The standard output of a program that must have succeeded."""
    assert finished.returncode == 0, f"status {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def answer(finished: subprocess.CompletedProcess[str]) -> Any:
    """What a program that must have succeeded printed last, as JSON."""
    return json.loads(succeed(finished).splitlines()[-1])


ARRIVING = "import rtmalloc, json; print(json.dumps(sorted(rtmalloc.status().domains)))"
"""Prints the domains that arrive at rtmalloc."""

ALL = ["raw"] if _core.is_free_threaded() else ["mem", "obj", "raw"]

needs_objects = pytest.mark.skipif(
    _core.is_free_threaded(), reason="on a free-threaded build Python's objects stay in the interpreter's own allocator"
)
"""For tests whose programs allocate by making objects, or choose another allocator for these."""
