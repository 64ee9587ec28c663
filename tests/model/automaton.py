"""Threads as automata. A thread's program is a generator: it yields an access to shared memory, and is sent the answer.

What a thread does alone depends on nothing but the answers that it gets. So where its generator stands, and what its
variables hold, is its *local state*. Each local state gets a number, and the number that an answer leads to is worked
out once: the search through all interleavings handles numbers, while the protocol reads like the code that it models.

Programs keep to what makes this true: variables hold values that can be hashed, `for` runs over `range` alone, and what
an expression has worked out before it yields is in the access that it yields.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from .accesses import Access

Program = Generator[Access, int, Any]


class Automaton:
    """The local states of a program, as far as they have been asked for. Number 0 is its beginning."""

    def __init__(self, program: Callable[[], Program]) -> None:
        """An automaton for the generator that `program` makes, always the same one."""
        self.program = program
        self.access: list[Access | None] = []  # of each local state, what it is about to do; None: it has ended
        self._answers: list[tuple[int, ...]] = []  # that led to it, from the beginning
        self._after: dict[tuple[int, int], int] = {}
        self._number_of: dict[object, int] = {}
        self._add(())

    def after(self, number: int, answer: int) -> int:
        """The local state that follows when the access of `number` is answered."""
        try:
            return self._after[number, answer]
        except KeyError:
            self._after[number, answer] = after = self._add((*self._answers[number], answer))
            return after

    def _add(self, answers: tuple[int, ...]) -> int:
        program = self.program()
        access: Access | None = None
        try:
            access = next(program)
            for answer in answers:
                access = program.send(answer)
        except StopIteration:
            access = None
        number = self._number_of.setdefault((access, _local_state(program)), len(self.access))
        if number == len(self.access):
            self.access.append(access)
            self._answers.append(answers)
        return number


def _local_state(program: Program) -> object:
    """Where a generator stands, through all the generators that it delegates to, and what their variables hold."""
    frames = []
    at: Any = program
    while at is not None and at.gi_frame is not None:
        names = sorted(at.gi_frame.f_locals.items(), key=lambda item: item[0])
        frames.append((at.gi_frame.f_code, at.gi_frame.f_lasti, tuple(item for item in names if item[0] != "self")))
        at = at.gi_yieldfrom
    return tuple(frames)
