"""Run-time options: the table of ``rtmalloc/core/options.toml`` as Python sees it."""

from __future__ import annotations

from dataclasses import dataclass

from rtmalloc import _core
from rtmalloc.settings import nearest


@dataclass(frozen=True)
class Option:
    """A run-time option, from the table in ``rtmalloc/core/options.toml``."""

    name: str
    value: int
    """Now, in :attr:`unit`."""
    default: int
    least: int
    most: int
    unit: str
    """Of value, default, least and most; empty for a switch."""
    description: str

    @property
    def range(self) -> str:
        """The values it takes, as text: ``0 to 1000 ms``."""
        return f"{self.least} to {self.most} {self.unit}".strip()


def options() -> dict[str, Option]:
    """All run-time options by name, with their values now."""
    return {row[0]: Option(*row) for row in _core.option_table()}


def configure(**values: int) -> None:
    """Change run-time options, for example ``configure(dirty_decay_ms=1000)``.

    Args:
        values: by name; each in the unit and range that :func:`options` tells.

    Raises:
        ValueError: for an unknown name or a value out of range; then nothing is changed.
    """
    table = options()
    numbers = {name: number for number, name in enumerate(table)}
    for name, value in values.items():
        if name not in table:
            raise ValueError(f"there is no option {name!r}{nearest(name, table)}; rtmalloc.options() lists them")
        option = table[name]
        if not isinstance(value, int) or not option.least <= value <= option.most:
            raise ValueError(f"{name} is a whole number from {option.range}, not {value!r}")
    for name, value in values.items():
        _core.option_set_number(numbers[name], value)
