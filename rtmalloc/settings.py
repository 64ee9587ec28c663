"""What the environment says to rtmalloc, and where the preload library is.

The launcher and ``install()`` have few milliseconds, so that nothing slow is imported here: the extension and what
reads tables are loaded only when there is something to check.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SWITCH = "RTMALLOC"
"""Environment variable that keeps rtmalloc out when it is ``0``: ``install()`` and the launcher then do nothing."""

OPTIONS = "RTMALLOC_OPTIONS"
"""Environment variable that the allocator reads when it starts: ``name=value,name=value``."""

STATS_FILE = "RTMALLOC_STATS_FILE"
"""Environment variable that makes :func:`install` begin a statistics file: its path, or ``1`` for the default one."""

HEAP_PROFILE = "RTMALLOC_HEAP_PROFILE"
"""Environment variable that names the directory for heap profiles (docs/heap-profile.md)."""

CONFIG = "config"
"""The one option that is no number: a file with a compiled table of size classes, read once when the process starts."""

TABLE_BYTES = 4096
"""More than the longest compiled table has."""


def library_file() -> str:
    """Path of the preload library, as a string.

    Beside this file and not through importlib.resources: the loader needs a real file anyway, and the launcher, which
    has 10 ms, cannot wait 20 ms for that import.

    Raises:
        FileNotFoundError: when this installation has none (a source tree that was not built).
    """
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "librtmalloc.so")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} is missing: run `make build`, or install rtmalloc from a wheel")
    return path


def library_path() -> Path:
    """Path of the preload library, for ``LD_PRELOAD``.

    Raises:
        FileNotFoundError: when this installation has none (a source tree that was not built).
    """
    from pathlib import Path

    return Path(library_file())


def nearest(name: str, names: Iterable[str]) -> str:
    """What a mistyped name was meant to be, in parentheses behind a sentence; empty where nothing is like it."""
    import difflib  # only for an error

    found = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


_SIZE_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_AUTO_OPTIONS = ("memory_limit", "background_thread")


def size_parse(text: str) -> int:
    """Bytes from a number with or without a unit: ``"200M"``, ``"1GiB"``, ``"4096"``; K, M, G and T are powers of 1024.

    Raises:
        ValueError: for anything else; the message says what is taken.
    """
    digits = text.removeprefix("-")
    number = digits.rstrip("KMGTkmgtiB")
    unit = digits[len(number) :]
    if (
        not (number.isascii() and number.isdigit())
        or unit[1:] not in ("", "B", "iB")
        or unit[:1].lower() not in _SIZE_UNITS
    ):
        raise ValueError(f"{text!r} is no number of bytes: a whole number, which K, M, G or T may follow")
    if unit and text.startswith("-"):
        raise ValueError(f"{text!r} is no number of bytes: it is negative")
    return (int(number) << _SIZE_UNITS[unit[:1].lower()]) * (-1 if text.startswith("-") else 1)


def options_parse(text: str) -> dict[str, int | str]:
    """The options that a value of ``RTMALLOC_OPTIONS`` sets; all are numbers but :data:`CONFIG`, a path.

    Args:
        text: ``name=value,name=value``; empty parts are allowed. ``preset=NAME`` stands for a named set of options.

    Raises:
        ValueError: names the first part that the allocator would refuse, and why.
    """
    if not text:
        return {}
    from rtmalloc import _core

    table = {name: (least, most, unit) for name, _, _, least, most, unit, _ in _core.option_table()}
    values: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        if name == CONFIG:
            check_config(number)
            values[name] = number
            continue
        if name == "preset":
            presets = _core.option_presets()
            if number not in presets:
                raise ValueError(f"{OPTIONS}: there is no preset {number!r}; there is {', '.join(sorted(presets))}")
            values.update(options_parse(presets[number]))
            continue
        if name not in table:
            meant = nearest(name, [*table, CONFIG, "preset"])
            raise ValueError(f"{OPTIONS}: there is no option {name!r}{meant}; `rtmalloc options` lists them")
        least, most, unit = table[name]
        if number == "auto" and name in _AUTO_OPTIONS:
            number = "-1"
        elif unit == "bytes":
            try:
                number = str(size_parse(number))
            except ValueError as error:
                raise ValueError(f"{OPTIONS}: {part!r}: {error}") from None
        # The C parser takes ASCII digits with an optional minus, and nothing else.
        if not (number.isascii() and number.removeprefix("-").isdigit()):
            raise ValueError(f"{OPTIONS}: {part!r}: the value is no whole number")
        if not least <= int(number) <= most:
            raise ValueError(f"{OPTIONS}: {part!r}: {name} is {least} to {most} {unit}".rstrip())
        values[name] = int(number)
    return values


def check_config(path: str) -> None:
    """Refuse a compiled table that the allocator would refuse.

    Args:
        path: of the file, as ``RTMALLOC_OPTIONS=config=`` names it.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    from rtmalloc import _core

    try:
        with open(path, "rb") as file:
            problem = _core.size_table_problem(file.read(TABLE_BYTES))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem is not None:
        raise ValueError(f"{OPTIONS}: {CONFIG}: {path}: {problem}")
