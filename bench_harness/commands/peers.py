"""`bench-harness peers`: get the allocators to compare with, without root and without a compiler."""

from __future__ import annotations

import argparse

from rich.console import Console

from bench_harness.commands.measure import EXIT_FAILED
from bench_harness.errors import UsageError
from bench_harness.peers.allocators import FETCHED, find_allocators
from bench_harness.peers.declaration import declared
from bench_harness.peers.fetch import Outcome, fetch

__all__ = ["get"]


def get(arguments: argparse.Namespace, console: Console) -> int:
    """Download what the arguments name, a line for each.

    Returns:
        0; 1 when something that was named cannot be had. Without names it is no failure that a machine has less.
    Raises:
        UsageError: nobody declared how to get one of the names.
    """
    rows = declared().allocators
    known = [name for name, row in rows.items() if row.get]
    for name in arguments.names:
        if name not in known:
            raise UsageError(f"peers {name}: not one that can be got; valid are {', '.join(known)}")
    names = arguments.names or known
    if arguments.missing:
        found = find_allocators()
        names = [name for name in names if name not in found and rows[name].compared]

    def say(outcome: Outcome) -> None:
        if outcome.package:
            console.print(f"{outcome.name}: {outcome.package}, in {FETCHED / outcome.name}", markup=False)

    lost = [outcome for outcome in fetch(names, say) if not outcome.package] if names else []
    if lost:
        reasons = "; ".join(f"{outcome.name} ({outcome.reason})" for outcome in lost)
        console.print(f"not to be had here: {reasons}", markup=False, soft_wrap=True)
    return EXIT_FAILED if lost and arguments.names else 0
