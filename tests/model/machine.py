"""The machine that the protocol's steps run on: threads with scripts, memory, choices, and the properties.

A step is a method that does one access to shared memory, and then what its thread does alone until the next
one. It changes `self.s`, a copy of the state, for the thread whose record begins at `self.t`, and returns
BLOCKED when it cannot be taken now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .explorer import Violation
from .program import Pc, Then
from .state import (
    AFTER,
    BITS,
    CLASSES,
    CLOSED,
    CURSOR,
    EMPTY,
    FIRST,
    FORMED,
    FREE_TAG,
    HEAP,
    HELD,
    LINK,
    LIVE,
    NO_HEAP,
    NOBODY,
    NOTIFIED,
    PC,
    POSITION,
    REGISTERS,
    REST,
    SHAPE,
    SHAPES,
    SLICE_SIZE,
    SPAN,
    STATE,
    STORE_SLOTS,
    STORES,
    TAG,
    THREAD_SIZE,
    TRUE_SHAPE,
    WORD,
    WORDS,
    Do,
    Rules,
    Scenario,
    SpanState,
    tag_of,
    tag_owner,
)

BLOCKED = False


class Machine:
    """Threads, memory and properties; the steps are in the classes derived from it."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario = scenario
        self.rules = rules
        self.heaps = range(1, 1 + max((th.heap for th in scenario.threads if th.heap != NO_HEAP), default=0))
        self.slices = sum(span.shape.slices for span in scenario.spans)
        self.heap_locks = CLASSES - 1  # heap ids begin with 1
        self.mailboxes = self.heap_locks + len(self.heaps)
        slices_at = CLASSES + 2 * len(self.heaps)
        self.slice_at = [slices_at + SLICE_SIZE * n for n in range(self.slices)]
        self.thread_size = THREAD_SIZE + (1 + 2 * STORE_SLOTS if scenario.store_buffer else 0)
        threads_at = slices_at + SLICE_SIZE * self.slices
        self.thread_at = [threads_at + self.thread_size * n for n in range(len(scenario.threads))]
        self.interchangeable = self._interchangeable()
        # A thread can make objects live until it is past its last action that takes some.
        self.last_taking = [
            max((n for n, (do, _) in enumerate(thread.script) if do in (Do.REFILL, Do.FORM)), default=-1)
            for thread in scenario.threads
        ]
        self.step_of: list[Callable[[], bool | None]] = [getattr(self, pc.name.lower()) for pc in Pc]
        self.then_of: list[Callable[[], None]] = [getattr(self, "then_" + then.name.lower()) for then in Then]
        self.start_of: list[Callable[[int], None]] = [getattr(self, "start_" + do.name.lower()) for do in Do]
        # the step at hand
        self.s = bytearray()
        self.t = 0
        self.thread = scenario.threads[0]
        self.me = NO_HEAP
        self.pc = -1  # -1: not a step, but a store that becomes visible
        self.path: list[int] = []  # the choices of this step ...
        self.arity: list[int] = []  # ... out of how many each
        self.chosen = 0

    def _interchangeable(self) -> list[list[int]]:
        groups: dict[tuple[tuple[Do, int], ...], list[int]] = {}
        for thread, at in zip(self.scenario.threads, self.thread_at, strict=True):
            if thread.heap == NO_HEAP:
                groups.setdefault(thread.script, []).append(at)
        return [group for group in groups.values() if len(group) > 1]

    # ---- what the explorer asks for (explorer.System) ------------------------------------------------------

    def initial(self) -> bytes:
        """All spans of the scenario formed, every heap open unless its only thread is to take it over."""
        threads = list(zip(self.scenario.threads, self.thread_at, strict=True))
        self.s = s = bytearray(self.thread_at[-1] + self.thread_size)
        for heap in self.heaps:
            open_now = any(th.heap == heap and th.script[0][0] != Do.REOPEN for th in self.scenario.threads)
            s[self.mailboxes + heap] = EMPTY if open_now else CLOSED
        number = 0
        for span in self.scenario.spans:
            p = self.slice_at[number]
            for inside in range(number, number + span.shape.slices):
                s[self.slice_at[inside] + TAG] = tag_of(span.owner, span.shape.size_class)
                s[self.slice_at[inside] + FIRST] = number
            s[p + STATE], s[p + CURSOR], s[p + FORMED] = span.state, span.cursor, 1
            s[p + SHAPE] = s[p + TRUE_SHAPE] = SHAPES.index(span.shape)
            for word in range(WORDS):
                s[p + LIVE + word] = span.live[word]
                s[p + BITS + word] = span.shape.full[word] & ~span.live[word]
            number += span.shape.slices
        for thread, t in threads:
            self.thread, self.t, self.me = thread, t, thread.heap
            self._start_action()
        return self._canonical()

    def steps(self, state: bytes) -> Iterator[bytes]:
        """Every thread's next step, once for each outcome of its choices."""
        path, arity = self.path, self.arity
        for thread, t in zip(self.scenario.threads, self.thread_at, strict=True):
            self.thread, self.t, self.me = thread, t, thread.heap
            if self.scenario.store_buffer and state[self.t + STORES]:
                self.pc = -1
                self.s = bytearray(state)
                self._store_oldest()
                yield self._canonical()
            self.pc = state[self.t + PC]
            if self.pc == Pc.DONE:
                continue
            step = self.step_of[self.pc]
            path.clear()
            arity.clear()
            while True:
                self.s = bytearray(state)
                self.chosen = 0
                if step() is not BLOCKED:
                    yield self._canonical()
                while path and path[-1] + 1 == arity[-1]:
                    path.pop()
                    arity.pop()
                if not path:
                    break
                path[-1] += 1

    def label(self) -> str:
        """The step and what it led to. Interchangeable threads may change names from step to step."""
        s = self.s
        if self.pc < 0:
            step = "(a store becomes visible)"
        else:
            choices = f" choice {self.path}" if self.path else ""
            step = f"{Pc(self.pc).name.lower()} slice {s[self.t + SPAN]} word {s[self.t + WORD]}{choices}"
        slices = [
            f"[{number}: tag {self._tag_name(s[p + TAG])}, {SpanState(s[p + STATE]).name}, "
            f"bits {s[p + BITS]:02b} {s[p + BITS + 1]:02b}, live {s[p + LIVE]:02b} {s[p + LIVE + 1]:02b}"
            f"{', notified' if s[p + NOTIFIED] else ''}]"
            for number, p in enumerate(self.slice_at)
        ]
        heads = {EMPTY: "empty", CLOSED: "closed"}
        mail = [heads.get(s[self.mailboxes + h], f"slice {s[self.mailboxes + h] - 1}") for h in self.heaps]
        return f"{self.thread.name}: {step:48} {' '.join(slices)} mail {mail}"

    @staticmethod
    def _tag_name(tag: int) -> str:
        return "free" if tag == FREE_TAG else f"heap {tag_owner(tag)}" if tag_owner(tag) else "nobody"

    def finished(self, state: bytes) -> bool:
        """All threads are at the end of their scripts."""
        return all(state[t + PC] == Pc.DONE for t in self.thread_at)

    # ---- properties ----------------------------------------------------------------------------------------

    def check_end(self, state: bytes) -> None:
        """Every thread has finished, every object was returned: all bits are there, and no span is forgotten."""
        s = state
        if any(s[: CLASSES + len(self.heaps)]):
            raise Violation("deadlock", "a lock is still held")
        idle = [heap for heap in self.heaps if s[self.mailboxes + heap] != CLOSED]
        mail = self._mail(s)
        for number, p in enumerate(self.slice_at):
            hinted = number in mail or self.scenario.lossy
            if any(s[p + LIVE : p + LIVE + WORDS]) or any(s[p + HELD : p + HELD + WORDS]):
                raise Violation("bits lost", f"some of slice {number} are with a thread that has ended")
            if s[p + NOTIFIED] and not hinted:
                raise Violation("flag stuck", f"slice {number} is notified, but in no heap's mailbox")
            bits = tuple(s[p + BITS : p + BITS + WORDS])
            if bits != (SHAPES[s[p + TRUE_SHAPE]].full if s[p + FORMED] else (0, 0)):
                raise Violation("bits lost", f"slice {number} has {bits}")
            if s[p + FORMED]:
                owner = tag_owner(s[p + TAG])
                if owner == NOBODY or owner not in idle:
                    raise Violation("stranded", f"span {number} is whole, and nobody will ever look at it")
                if s[p + STATE] != SpanState.CURRENT and not hinted:
                    raise Violation("stranded", f"span {number} is whole, and its owner does not know")

    def check_prompt(self) -> None:
        """Nothing runs: a span that should be settled is in the mail of a heap that sleeps; ours has been read."""
        s = self.s
        mail = self._mail(s)
        for number, p in enumerate(self.slice_at):
            if s[p + FORMED] and number not in mail:
                shape, state = SHAPES[s[p + TRUE_SHAPE]], s[p + STATE]
                bits = tuple(s[p + BITS : p + BITS + WORDS])
                useful = any(word.bit_count() >= shape.worth for word in bits)
                unnoticed = useful and state in (SpanState.FULL, SpanState.UNLISTED)
                if unnoticed or (bits == shape.full and state != SpanState.CURRENT):
                    raise Violation("stranded", f"span {number} is {SpanState(state).name} with {bits}")
        self.then_next_action()

    def _mail(self, s: bytes | bytearray) -> set[int]:
        return {number for heap in self.heaps for number in self._chain(s, s[self.mailboxes + heap])}

    def _claim(self, p: int, word: int, want: int) -> int:
        """Take those bits of `want` that are set: HELD until they are given back, or become objects."""
        s = self.s
        got = s[p + BITS + word] & want
        if got & (s[p + LIVE + word] | s[p + HELD + word]):
            raise Violation("handed out twice", f"bits {got:#b} of word {word}")
        s[p + BITS + word] ^= got
        s[p + HELD + word] |= got
        return got

    def _give(self, p: int, word: int, mask: int) -> int:
        """OR bits that are HELD into a word; the word as it was before."""
        s = self.s
        old = s[p + BITS + word]
        if old & mask:
            raise Violation("double free", f"bits {mask:#b} of word {word} are set already")
        if s[p + HELD + word] & mask != mask:
            raise Violation("bits lost", f"{mask:#b} of word {word} go to a span that they are not from")
        s[p + BITS + word] |= mask
        s[p + HELD + word] ^= mask
        return old

    # ---- memory --------------------------------------------------------------------------------------------

    def _load(self, address: int) -> int:
        """An atomic load: a thread sees its own stores at once."""
        s = self.s
        if self.scenario.store_buffer:
            count_at = self.t + STORES
            for entry in range(count_at + 2 * s[count_at] - 1, count_at, -2):
                if s[entry] == address:
                    return s[entry + 1]
        return s[address]

    def _store(self, address: int, value: int) -> None:
        """A plain (release) store: others may see it late, but in order."""
        s, count_at = self.s, self.t + STORES
        if not self.scenario.store_buffer:
            s[address] = value
            return
        if s[count_at] == STORE_SLOTS:
            self._store_oldest()
        entry = count_at + 1 + 2 * s[count_at]
        s[entry], s[entry + 1] = address, value
        s[count_at] += 1

    def _store_oldest(self) -> None:
        s, count_at = self.s, self.t + STORES
        s[s[count_at + 1]] = s[count_at + 2]
        s[count_at] -= 1
        s[count_at + 1 : self.t + self.thread_size] = s[count_at + 3 : self.t + self.thread_size] + bytes(2)

    def _locked(self) -> bytearray:
        """The memory for a read-modify-write: it makes the thread's earlier stores visible."""
        if self.scenario.store_buffer:
            while self.s[self.t + STORES]:
                self._store_oldest()
        return self.s

    def _lock(self, address: int) -> bool:
        """Take a lock if it is free. A class is the address of its lock."""
        s = self._locked()
        if s[address]:
            return False
        s[address] = 1
        return True

    def _unlock(self, address: int) -> None:
        self._store(address, 0)

    def _heap_lock(self) -> int:
        """The address of the lock of the heap in HEAP."""
        return self.heap_locks + self.s[self.t + HEAP]

    def _chain(self, s: bytes | bytearray, head: int) -> Iterator[int]:
        """The spans of a mailbox, or of what is left of a popped one."""
        for _ in range(self.slices + 1):
            if head in (EMPTY, CLOSED):
                return
            yield head - 1
            head = s[self.slice_at[head - 1] + LINK]

    def _owned_by(self, p: int, heap: int) -> bool:
        tag = self._load(p + TAG)
        return tag != FREE_TAG and tag_owner(tag) == heap

    # ---- choices and symmetry ------------------------------------------------------------------------------

    def _choose(self, count: int) -> int:
        """One of 0 .. count-1; the step is tried once with each."""
        if self.chosen == len(self.path):
            self.path.append(0)
            self.arity.append(count)
        self.chosen += 1
        return self.path[self.chosen - 1]

    def _choose_part(self, mask: int) -> int:
        """A non-empty part of the ones of a mask."""
        parts = [part for part in range(1, mask + 1) if part & mask == part]
        return parts[self._choose(len(parts))]

    def _canonical(self) -> bytes:
        """The state, with the records of interchangeable threads in one order."""
        state = bytes(self.s)
        for group in self.interchangeable:
            records = [state[t : t + self.thread_size] for t in group]
            in_order = sorted(records)
            if in_order != records:
                sorted_state = bytearray(state)
                for t, record in zip(group, in_order, strict=True):
                    sorted_state[t : t + self.thread_size] = record
                state = bytes(sorted_state)
        return state

    # ---- scripts -------------------------------------------------------------------------------------------

    def _start_action(self) -> None:
        """Begin the action at the thread's position; it sets the program counter."""
        s, t = self.s, self.t
        s[t + REGISTERS.start : t + REGISTERS.stop] = bytes(REGISTERS.stop - REGISTERS.start)
        if s[t + POSITION] == len(self.thread.script):
            s[t + PC] = Pc.DONE
        else:
            do, argument = self.thread.script[s[t + POSITION]]
            self.start_of[do](argument)

    def then_next_action(self) -> None:
        """The action is over."""
        self.s[self.t + POSITION] += 1
        self._start_action()

    def _return(self) -> None:
        """Go on where put, event or notify was called from."""
        then = self.s[self.t + AFTER]
        self._forget()
        self.then_of[then]()

    def _forget(self) -> None:
        """Clear the registers of put, event, look and refill: what means nothing must not tell states apart."""
        s, t = self.s, self.t
        s[t + AFTER : t + SPAN] = bytes(SPAN - AFTER)
        s[t + WORD : t + REST] = bytes(REST - WORD)

    def done(self) -> bool:
        """No step is left."""
        return BLOCKED

    def start_await_others(self, _: int) -> None:
        """Wait for all other threads."""
        self.s[self.t + PC] = Pc.AWAIT_OTHERS

    def await_others(self) -> bool | None:
        """All others have finished."""
        if any(self.s[other + PC] != Pc.DONE for other in self.thread_at if other != self.t):
            return BLOCKED
        self.then_next_action()
        return None

    def start_check_prompt(self, _: int) -> None:
        """Check that nobody waits for a look."""
        self.s[self.t + PC] = Pc.CHECK_PROMPT
