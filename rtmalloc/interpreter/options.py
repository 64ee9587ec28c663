"""Run-time options: the table of ``rtmalloc/core/options.toml`` as Python sees it."""

from __future__ import annotations

from dataclasses import dataclass

from rtmalloc import _core
from rtmalloc.settings import nearest, size_parse


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


def set_memory_limit(limit: int | str | None, hard: int | str | None = None) -> None:
    """Keep the heap below ``limit`` bytes, for example ``set_memory_limit("auto")`` or ``set_memory_limit("200M")``.

    As the heap nears the limit everything free goes back to the kernel at once, caches are flushed and the callbacks of
    :func:`on_memory_pressure` are called. The soft limit never makes a request fail. ``stats().counters`` tells of it:
    ``limit``, ``limit_hard``, ``limit_heap``, ``limit_rounds`` and ``limit_us``.

    Args:
        limit: in bytes, as a number or as text with K, M, G or T; ``"auto"`` takes seven eighths of what the process's
            control group allows; ``None`` or 0 for no limit.
        hard: beyond it a request fails as if the kernel had refused it (``MemoryError``); ``None`` or 0 for none.

    Raises:
        ValueError: for what is no size, a negative one, or one above 1 PiB; then nothing is changed.
    """
    configure(memory_limit=_limit_bytes(limit), memory_limit_hard=_limit_bytes(hard, soft=False))


def _limit_bytes(limit: int | str | None, *, soft: bool = True) -> int:
    """The option's value for a limit."""
    if limit == "auto" and soft:
        return -1
    number = 0 if limit is None else size_parse(limit) if isinstance(limit, str) else limit
    if isinstance(number, int) and number < 0:
        raise ValueError(f"a limit is at least 0 bytes, not {number}")
    return number
