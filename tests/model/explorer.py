"""Breadth-first search through every state that a system of threads can reach.

A state is anything that can be hashed. A system names its initial state, the states that one atomic step of any thread
leads to, and what must hold once every thread has finished. The search is exhaustive: what it does not find does not
exist in that scenario. It is breadth-first: the trace that it gives of a violation is a shortest one.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

STATE_LIMIT = 5_000_000  # about 1.5 GB: a scenario that is larger should fail, not eat the machine


class Violation(Exception):
    """A property of the protocol does not hold in a state that can be reached."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


class System(Protocol):
    """What the search needs to know of a system of threads."""

    def initial(self) -> Any:
        """The state before the first step."""

    def steps(self, state: Any) -> Iterator[Any]:
        """Yield the state after each step that a thread can take; raise Violation where one breaks a property."""

    def label(self) -> str:
        """Name the step that `steps` yielded, or tried, last."""

    def finished(self, state: Any) -> bool:
        """Tell whether every thread has come to the end of its script."""

    def check_end(self, state: Any) -> None:
        """Raise Violation if a state in which every thread has finished is not as it must be."""


@dataclass(frozen=True)
class Explored:
    """The size of a search that found nothing."""

    states: int
    transitions: int
    ends: int


@dataclass(frozen=True)
class Found:
    """A violation, and a shortest sequence of steps that leads to it."""

    kind: str
    message: str
    trace: tuple[str, ...]
    states: int

    def __str__(self) -> str:
        steps = (f"{number:4}  {step}" for number, step in enumerate(self.trace, 1))
        return "\n".join([self.message, *steps])


def explore(system: System, state_limit: int = STATE_LIMIT) -> Explored | Found:
    """Visit every reachable state, or stop at the first violation.

    Besides what the system itself checks, two things are violations: "deadlock", a state in which no thread can take
    a step although one has not finished, and "livelock", a state from which no sequence of steps leads to an end.

    Args:
        system: the threads, their shared memory and its properties.
        state_limit: number of states after which the search gives up.

    Returns:
        The counts of a complete search, or the violation that was found.

    Raises:
        RuntimeError: the limit was reached; nothing is known then.
    """
    collects = gc.isenabled()
    gc.disable()  # there are no cycles, and to look for them among millions of states takes most of the time
    try:
        return _explore(system, state_limit)
    finally:
        if collects:
            gc.enable()


def _explore(system: System, state_limit: int) -> Explored | Found:
    try:
        first = system.initial()
    except Violation as violation:
        return Found(violation.kind, str(violation), ("the beginning",), 0)
    number_of = {first: 0}
    states = [first]  # in the order of the search: by distance from the first
    came_from = array("l", [-1])
    successors = array("l")
    successors_end = array("l")  # where the successors of a state end in `successors`
    ends: list[int] = []
    for number, state in enumerate(states):  # grows while it is walked
        before = len(successors)
        try:
            for after in system.steps(state):
                next_number = number_of.setdefault(after, len(states))
                if next_number == len(states):
                    states.append(after)
                    came_from.append(number)
                successors.append(next_number)
        except Violation as violation:
            return _found(system, states, came_from, number, violation, system.label())
        if len(successors) == before:
            try:
                if not system.finished(state):
                    raise Violation("deadlock", "no thread can take a step")
                system.check_end(state)
            except Violation as violation:
                return _found(system, states, came_from, number, violation, "the end")
            ends.append(number)
        successors_end.append(len(successors))
        if len(states) > state_limit:
            raise RuntimeError(f"more than {state_limit} states")
    stuck = _first_without_end(successors, successors_end, ends)
    if stuck is not None:
        livelock = Violation("livelock", "no sequence of steps leads from here to an end")
        return _found(system, states, came_from, stuck, livelock, "and so on for ever")
    return Explored(len(states), len(successors), len(ends))


def _first_without_end(successors: array[int], successors_end: array[int], ends: list[int]) -> int | None:
    """Number of the first state from which no end can be reached, or None."""
    can_end = bytearray(len(successors_end))
    for number in ends:
        can_end[number] = 1
    left = [number for number in range(len(successors_end) - 1, -1, -1) if not can_end[number]]
    while left:
        # From far to near: most steps lead away from the first state, so that one pass marks nearly all.
        still_left = []
        for number in left:
            begin = successors_end[number - 1] if number else 0
            if any(can_end[after] for after in successors[begin : successors_end[number]]):
                can_end[number] = 1
            else:
                still_left.append(number)
        if len(still_left) == len(left):
            return still_left[-1]
        left = still_left
    return None


def _found(
    system: System, states: list[Any], came_from: array[int], number: int, violation: Violation, last: str
) -> Found:
    path = [number]
    while came_from[path[-1]] >= 0:
        path.append(came_from[path[-1]])
    trace: list[str] = []
    for before, after in pairwise(reversed(path)):
        for state in system.steps(states[before]):
            if state == states[after]:
                trace.append(system.label())
                break
    return Found(violation.kind, str(violation), (*trace, last), len(states))
