"""Presets and variants: an allocator with options, which it is asked for and which it must accept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench_harness.documents import PACKAGE
from bench_harness.errors import UsageError
from bench_harness.native.build import BIN
from bench_harness.peers.allocators import Allocator
from bench_harness.peers.declaration import DEFAULT, Ask, Options, Preset, declared

__all__ = ["check_options", "complaint_of", "option_names", "presets_of", "variant", "with_preset"]

_ASK_SECONDS = 20.0
_TRIVIAL = ("true",)  # loads, and ends by exit(), which is when some libraries speak
_PROOF = ("churn", "live=10", "ops=100")  # a cell of a few milliseconds
_PROOF_SECONDS = 60.0


def _loader() -> str:
    """The dynamic linker that this process was started by."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if re.fullmatch(r"ld(-linux.*|-\d.*|64)?\.so.*", Path(path).name):
            return path
    return ""


def _said(ask: Ask, allocator: Allocator) -> str:
    if not ask.command and not ask.environment:
        return allocator.path.read_bytes().decode("latin-1") if allocator.path is not None else ""
    known = {"{python}": sys.executable, "{loader}": _loader()}
    command = [known.get(word, word) for word in ask.command] or list(_TRIVIAL)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), *sys.path])), **ask.environment}
    if not ask.command:
        environment["LD_PRELOAD"] = allocator.preloaded
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_ASK_SECONDS,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def option_names(allocator: Allocator) -> tuple[str, ...]:
    """The names of an allocator's options as it tells them; empty when it is silent, or cannot be asked."""
    options = declared().row(allocator.family).options
    if options is None or options.names is None:
        return ()
    found = re.findall(options.names.find, _said(options.names, allocator), re.MULTILINE)
    return tuple(dict.fromkeys(name.lower() for name in found))


def _environment(options: Options, texts: Iterable[str]) -> dict[str, str]:
    pairs = [text.partition("=")[::2] for text in texts]
    if "{NAME}" in options.variable:
        return {options.variable.replace("{NAME}", name.upper()): value for name, value in pairs}
    return {options.variable: options.join.join(options.pair.format(name=name, value=value) for name, value in pairs)}


def _cores() -> str:
    return str(len(os.sched_getaffinity(0)))


def _preset(allocator: Allocator) -> Preset:
    return declared().row(allocator.family).presets.get(allocator.preset, Preset())


def _configured(allocator: Allocator) -> Allocator:
    """The allocator with the environment and the companions that its preset and options make."""
    preset = _preset(allocator)
    texts = [*(text.replace("{cores}", _cores()) for text in preset.options), *allocator.options]
    how = declared().row(allocator.family).options
    if texts and how is None:
        raise UsageError(f"{allocator.name}: it is not declared how options reach {allocator.family}")
    environment = _environment(how, texts) if texts and how is not None else {}
    companions = (*allocator.companions, *(BIN / name for name in preset.companions))
    return replace(allocator, environment={**allocator.environment, **environment}, companions=companions)


def presets_of(family: str) -> tuple[str, ...]:
    """The presets of an allocator, `default` first."""
    return (DEFAULT, *declared().row(family).presets)


def with_preset(base: Allocator, preset: str) -> Allocator:
    """`base`, which has no preset yet, with the options of a declared one.

    Raises:
        UsageError: there is no such preset.
    """
    if preset == DEFAULT:
        return base
    known = presets_of(base.family)
    if preset not in known:
        raise UsageError(f"{base.name}:{preset}: no such preset; {base.name} has {', '.join(known)}")
    return _configured(replace(base, name=f"{base.name}:{preset}", preset=preset))


def variant(base: Allocator, options: Sequence[str]) -> Allocator:
    """`base` with options, as an allocator of its own.

    Args:
        base: any allocator, also one with a preset; options reach it as `peers.toml` declares, else in the
            environment as `<NAME>_OPTIONS`.
        options: `name=value` texts; they come after those of the preset.
    """
    changed = replace(base, name=f"{base.name}[{','.join(options)}]", options=tuple(options))
    return replace(_configured(changed), companions=base.companions)


def check_options(allocator: Allocator) -> None:
    """Ask an allocator whether it has all its options, and whether it accepts them.

    Raises:
        UsageError: it has not one of them, or complains, or does not run with them.
    """
    names = option_names(allocator)
    for text in (*_preset(allocator).options, *allocator.options):
        name = text.partition("=")[0]
        if names and name not in names:
            raise UsageError(f"{allocator.family} has no option {name}; it has {', '.join(sorted(names))}")
    why = complaint_of(allocator)
    if why:
        raise UsageError(f"{allocator.name} does not work: {why}")


def complaint_of(allocator: Allocator) -> str:
    """What is wrong when one small cell runs under the allocator; empty when it runs without a word.

    An allocator that does not know an option, or a value, says so on stderr and keeps its default: its row would
    measure nothing.
    """
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {**allocator.environment, "LD_PRELOAD": allocator.preloaded}
    command = [str(BIN / _PROOF[0]), *_PROOF[1:]]
    tried = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_PROOF_SECONDS)
    if not tried.returncode and not tried.stderr.strip():
        return ""
    words = tried.stderr.strip().splitlines()
    return words[0] if words else f"exit status {tried.returncode}"
