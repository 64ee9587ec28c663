"""Who else used the machine while a cell ran: other processes, and the hypervisor (steal time)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

__all__ = ["Disturbance", "Watch"]

# Above these a cell counts as disturbed. In cores: a second of a third process in ten seconds costs a
# two-thread cell on two cores up to 5 %, which is what one wants to tell apart.
OTHER_LIMIT = 0.10
STEAL_LIMIT = 0.02


@dataclass(frozen=True)
class Disturbance:
    """CPU use by others during a cell, as a number of cores (0.5 = half of one core)."""

    other: float
    steal: float

    @property
    def disturbed(self) -> bool:
        """True when the cell should not be trusted if it can be repeated."""
        return self.other > OTHER_LIMIT or self.steal > STEAL_LIMIT

    @property
    def total(self) -> float:
        """Cores lost to others in all, for choosing the least disturbed of several attempts."""
        return self.other + self.steal


class Watch:
    """Started before a cell, read after it."""

    def __init__(self) -> None:
        """Remember the machine's CPU counters now."""
        self._own = psutil.Process()
        self._began = time.monotonic()
        self._busy, self._steal = self._machine()
        self._self = self._self_seconds()

    @staticmethod
    def _machine() -> tuple[float, float]:
        t = psutil.cpu_times()
        return t.user + t.nice + t.system + t.irq + t.softirq, getattr(t, "steal", 0.0)

    def _self_seconds(self) -> float:
        t = self._own.cpu_times()
        return float(t.user + t.system)

    def stop(self, child_seconds: float) -> Disturbance:
        """What others used since the start.

        Args:
            child_seconds: CPU time of the cell itself, user and system together.
        """
        elapsed = max(time.monotonic() - self._began, 1e-3)
        busy, steal = self._machine()
        ours = child_seconds + self._self_seconds() - self._self
        # The counters tick in 10 ms steps: a short cell may come out slightly negative.
        return Disturbance(max(0.0, (busy - self._busy - ours) / elapsed), max(0.0, (steal - self._steal) / elapsed))
