"""The text of ``RTMALLOC_OPTIONS``. Apart from :mod:`rtmalloc._options`, because the launcher must start fast."""

from __future__ import annotations

import os

SWITCH = "RTMALLOC"
"""Environment variable that keeps rtmalloc out when it is ``0``: ``install()`` and the launcher then do nothing."""

VARIABLE = "RTMALLOC_OPTIONS"
"""Environment variable that the allocator reads when it starts: ``name=value,name=value``."""


CONFIG = "config"
"""The one option that is no number: a file with a table of size classes, read once when the process starts."""


def parse(text: str) -> dict[str, int | str]:
    """The options that a value of ``RTMALLOC_OPTIONS`` sets; all are numbers but :data:`CONFIG`, a path.

    Args:
        text: ``name=value,name=value``; empty parts are allowed. ``preset=NAME`` stands for a named set of options.

    Raises:
        ValueError: names the first part that the allocator would refuse, and why.
    """
    if not text:
        return {}
    # The launcher, which has few milliseconds, loads the extension only when there is something to check.
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
                raise ValueError(f"{VARIABLE}: there is no preset {number!r}; there are {', '.join(sorted(presets))}")
            values.update(parse(presets[number]))
            continue
        if name not in table:
            raise ValueError(
                f"{VARIABLE}: there is no option {name!r}; there are {', '.join(sorted([*table, CONFIG]))}"
            )
        # The C parser takes ASCII digits with an optional minus, and nothing else.
        if not (number.isascii() and number.removeprefix("-").isdigit()):
            raise ValueError(f"{VARIABLE}: {part!r}: the value is no whole number")
        least, most, unit = table[name]
        if not least <= int(number) <= most:
            raise ValueError(f"{VARIABLE}: {part!r}: {name} is {least} to {most} {unit}".rstrip())
        values[name] = int(number)
    return values


def check_config(path: str) -> None:
    """Refuse a table file that the allocator would refuse.

    Args:
        path: of the file, as ``RTMALLOC_OPTIONS=config=`` names it.

    Raises:
        ValueError: names the file, the line and the rule it breaks.
    """
    if not os.path.isfile(path):
        raise ValueError(f"{VARIABLE}: {CONFIG} names a table of size classes, and {path!r} is no file")
    try:
        # Only here: a launcher that is given no table does not read what reads one.
        from rtmalloc import _core
        from rtmalloc.size_table import table_parse
    except ImportError:  # Python 3.10 without tomli: the allocator checks the file itself
        return
    try:
        with open(path, encoding="utf-8") as file:
            largest = table_parse(file.read(), name=path).sizes[-1]
    except OSError as error:
        raise ValueError(f"{VARIABLE}: {CONFIG}: {path}: {error.strerror}") from None
    if largest > _core.largest_small():
        raise ValueError(
            f"{path}: the largest block, {largest}, is larger than this build has room for, {_core.largest_small()}"
        )
