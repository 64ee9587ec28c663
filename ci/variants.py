"""Build the variants of the preload library that variants.toml lists, from the C file that `make build` has made.

    python ci/variants.py                 all of them
    python ci/variants.py NAME [NAME...]  these
    python ci/variants.py --list          their names and what they change

Each becomes build/variants/librtmalloc-NAME.so, compiled and linked as setup.py does it for the default library.
A library whose inputs have not changed is left alone.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "variants.toml"
TARGET = ROOT / "build" / "variants"


class VariantError(Exception):
    """The list is malformed, a name is unknown, or a build failed; the message is one line and says which."""


@dataclass(frozen=True)
class Variant:
    """One section of variants.toml."""

    name: str
    idea: tuple[int, ...]
    """Numbers of the seed's ideas that it is the alternative for."""
    changes: str
    """What it does instead, in a few words."""
    defines: tuple[tuple[str, str], ...] = ()
    """C macros and their values."""
    slice_shift: int = 14
    table: str = "rtmalloc.toml"
    preset: str = ""
    """Name of the set of run-time options that it begins with; empty for the defaults."""

    @property
    def library(self) -> Path:
        """Where it is built."""
        return TARGET / f"librtmalloc-{self.name}.so"

    @property
    def macros(self) -> list[str]:
        """The compiler's -D arguments, the size table apart."""
        macros = [f"-D{name}={value}" for name, value in self.defines]
        macros.append(f"-DRT_SLICE_SHIFT={self.slice_shift}")
        return [*macros, f'-DRT_PRESET="{self.preset}"'] if self.preset else macros


def _entry(name: str, section: dict[str, Any]) -> Variant:
    kinds: dict[str, type] = {
        "idea": list, "changes": str, "defines": dict, "slice_shift": int, "table": str, "preset": str
    }  # fmt: skip
    for key, value in section.items():
        if key not in kinds:
            raise VariantError(f"{LIST.name}: [{name}]: unknown key {key!r}; there are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            raise VariantError(f"{LIST.name}: [{name}]: {key} is a {kinds[key].__name__}")
    for key in ("idea", "changes"):
        if key not in section:
            raise VariantError(f"{LIST.name}: [{name}]: {key} is missing")
    chosen = {key: section[key] for key in ("slice_shift", "table", "preset") if key in section}
    defines = tuple((macro, str(value)) for macro, value in section.get("defines", {}).items())
    return Variant(name, tuple(section["idea"]), section["changes"], defines, **chosen)


def variants() -> dict[str, Variant]:
    """All variants of variants.toml by name.

    Raises:
        VariantError: names the section and what is wrong with it.
    """
    sections = tomllib.loads(LIST.read_text(encoding="utf-8"))
    return {name: _entry(name, section) for name, section in sections.items()}


@functools.cache
def _setup_module() -> ModuleType:
    """setup.py as a module, for its flags; it builds nothing unless it is the main program."""
    spec = importlib.util.spec_from_file_location("rtmalloc_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def build_flags() -> tuple[list[str], list[str]]:
    """setup.py's flags for the compiler, and for the link of the preload library."""
    setup = _setup_module()
    return list(setup.COMPILE_FLAGS), list(setup.PRELOAD_LINK)


def size_header(variant: Variant) -> str:
    """The generated header with the variant's size classes.

    Raises:
        VariantError: the table breaks a rule, or there is no such file.
    """
    size_table = _setup_module().module_from_file(ROOT / "rtmalloc" / "size_table.py")
    try:
        table = size_table.table_read(ROOT / variant.table)
    except (size_table.TableError, OSError) as error:
        raise VariantError(f"{variant.name}: {error}") from None
    return str(size_table.table_header(table, 1 << variant.slice_shift))


def _commands(variant: Variant, setup: ModuleType, work: Path) -> list[list[str]]:
    """What makes the library ``work/library.so``: one compilation, one link, with setup.py's flags."""
    config = sysconfig.get_config_vars()
    compiler = shlex.split(os.environ.get("CC") or config["CC"])
    flags = [*shlex.split(config.get("CFLAGS", "")), *shlex.split(config.get("CCSHARED", ""))]
    includes = [f"-I{setup.CORE}", f"-I{sysconfig.get_paths()['include']}"]
    macros = ["-DCYTHON_USE_MODULE_STATE=1", *variant.macros, f'-DRT_SIZE_TABLE="{work / "_size_table.h"}"']
    own = [*setup.COMPILE_FLAGS, *shlex.split(os.environ.get("RTMALLOC_CFLAGS", ""))]
    object_, library = str(work / "core.o"), str(work / "library.so")
    source = str(ROOT / "rtmalloc" / "_core.c")
    return [
        [*compiler, *flags, *includes, *macros, *own, "-c", source, "-o", object_],
        [*compiler, object_, *setup.PRELOAD_LINK, "-o", library, "-lpthread"],
    ]


def build(variant: Variant) -> Path:
    """Build one variant unless it is up to date; its library.

    Raises:
        VariantError: `make build` has not run, the size table breaks a rule, or the compiler refused.
    """
    setup = _setup_module()
    source = ROOT / "rtmalloc" / "_core.c"
    if not source.exists():
        raise VariantError(f"{source} is missing: run `make build` first")
    header = size_header(variant)
    # Two builds at once (tests and a benchmark) must not meet: each works aside, then moves.
    work = TARGET / f"{variant.name}.{os.getpid()}"
    commands = _commands(variant, setup, work)
    digest = hashlib.sha256(repr(commands).replace(str(work), "").encode() + header.encode() + source.read_bytes())
    for path in sorted([*setup.CORE.rglob("*.h"), *setup.CORE.rglob("*.map")]):
        if path.name != "_size_table.h":
            digest.update(path.read_bytes())
    stamp = TARGET / f".{variant.name}.inputs"
    if variant.library.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        return variant.library
    work.mkdir(parents=True, exist_ok=True)
    try:
        (work / "_size_table.h").write_text(header)
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise VariantError(f"{variant.name}: {shlex.join(command)}\n{done.stderr.strip()}")
        (work / "library.so").replace(variant.library)
        stamp.write_text(digest.hexdigest())
    finally:
        for path in work.iterdir():
            path.unlink()
        work.rmdir()
    return variant.library


def main(arguments: list[str]) -> int:
    """Build the variants named, or all, and print their paths; the exit status."""
    try:
        known = variants()
        if arguments == ["--list"]:
            for variant in known.values():
                print(f"{variant.name:16} {variant.changes}")
            return 0
        for name in arguments:
            if name not in known:
                raise VariantError(f"there is no variant {name!r}; there are {', '.join(known)}")
        for name in arguments or known:
            print(build(known[name]).relative_to(ROOT))
    except VariantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
