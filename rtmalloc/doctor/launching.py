"""Checks that start this interpreter under the launcher and ask every way in.

A check is a function without arguments that returns a :class:`Finding`; what it looks at is a constant of its module or
a function of the standard library, so that a test can put another world in its place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

from rtmalloc import _core
from rtmalloc.doctor.finding import NOTE, OK, PROBLEM, Finding
from rtmalloc.interpreter.packages import ADVICE
from rtmalloc.launcher.launch import LaunchError, environment

PACKAGES = ("polars", "pyarrow")
"""Those that are known for an allocator of their own."""

_PROBE_SECONDS = 60


class ProbeError(Exception):
    """The probe did not run; the message says why."""


def missing(*modules: str) -> list[str]:
    """The ways in that do not end at rtmalloc under the launcher, once these modules are imported.

    Raises:
        ProbeError: when that could not be tried.
    """
    program = f"import {', '.join(['rtmalloc', *modules])}; print(','.join(rtmalloc.verify().missing))"
    try:
        env = environment(os.environ)
    except (LaunchError, ValueError) as error:
        raise ProbeError(f"not tried: {error}") from None
    try:
        found = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=_PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProbeError(f"the interpreter did not start under the preload library: {error}") from None
    if found.returncode:
        last = (found.stderr.strip() or "no message").splitlines()[-1]
        raise ProbeError(f"the interpreter failed with status {found.returncode}: {last}")
    return [name for name in found.stdout.strip().split(",") if name]


def check_launch() -> Finding:
    """Start this interpreter under the launcher's environment and ask every way in."""
    try:
        found = missing()
    except ProbeError as error:
        return Finding("launch", PROBLEM, str(error))
    if found:
        return Finding("launch", PROBLEM, f"these do not arrive at rtmalloc under the launcher: {','.join(found)}")
    if _core.is_free_threaded():
        return Finding("launch", OK, "under the launcher malloc and Python's raw domain arrive at rtmalloc")
    return Finding("launch", OK, "under the launcher every allocation arrives at rtmalloc")


def check_private_allocators() -> Finding:
    """Some packages bring an allocator of their own, for which nothing can be preloaded."""
    installed = [name for name in PACKAGES if find_spec(name) is not None]
    if not installed:
        return Finding("packages", OK, "none that is known for an allocator of its own")
    aside = []
    for name in installed:
        try:
            aside += [found for found in missing(name) if found == name]
        except ProbeError:
            continue  # a package that cannot be imported keeps no memory; check_launch tells of the rest
    if not aside:
        return Finding("packages", OK, f"the buffers of {', '.join(installed)} arrive at rtmalloc")
    return Finding(
        "packages",
        NOTE,
        f"{', '.join(aside)} keeps its buffers in an allocator of its own, under the launcher too",
        "; ".join(ADVICE[name] for name in aside),
    )
