"""`python -m tests.model [part of a scenario's name]`: explore, and say how large each scenario is."""

from __future__ import annotations

import sys
import time

from .bitmap_protocol import BitmapProtocol
from .explorer import Explored, explore
from .scenarios import LONG_SCENARIOS, SCENARIOS


def main() -> int:
    """Explore the scenarios whose name contains the argument, or all; 1 if there is a violation."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = False
    for scenario in SCENARIOS + LONG_SCENARIOS:
        if wanted in scenario.name:
            began = time.process_time()
            result = explore(BitmapProtocol(scenario))
            failed |= not isinstance(result, Explored)
            print(f"{scenario.name:50} {time.process_time() - began:6.1f} s  {result}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
