"""The text of ``RTMALLOC_OPTIONS``. Apart from :mod:`rtmalloc._options`, because the launcher must start fast."""

from __future__ import annotations

from rtmalloc import _core

VARIABLE = "RTMALLOC_OPTIONS"
"""Environment variable that the allocator reads when it starts: ``name=value,name=value``."""


def parse(text: str) -> dict[str, int]:
    """The options that a value of ``RTMALLOC_OPTIONS`` sets.

    Args:
        text: ``name=value,name=value``; empty parts are allowed.

    Raises:
        ValueError: names the first part that the allocator would refuse, and why.
    """
    table = {name: (least, most, unit) for name, _, _, least, most, unit, _ in _core.option_table()}
    values = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        if name not in table:
            raise ValueError(f"{VARIABLE}: there is no option {name!r}; there are {', '.join(sorted(table))}")
        # The C parser takes ASCII digits with an optional minus, and nothing else.
        if not (number.isascii() and number.removeprefix("-").isdigit()):
            raise ValueError(f"{VARIABLE}: {part!r}: the value is no whole number")
        least, most, unit = table[name]
        if not least <= int(number) <= most:
            raise ValueError(f"{VARIABLE}: {part!r}: {name} is {least} to {most} {unit}".rstrip())
        values[name] = int(number)
    return values
