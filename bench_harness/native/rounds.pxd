"""Rounds of a workload that repeats itself: a mark at the top of each, and whether the second half climbs higher."""
from libc.stdio cimport snprintf
from bench_harness.native.cell cimport Cell, mark, metric, window_begin, window_end
from bench_harness.native.system cimport now_ns, resident_bytes, sleep_until_ns

cdef enum:
    ROUNDS_SHOWN = 16       # rounds with a mark of their own; with more rounds every second, third, ... has one
    ROUND_NAME = 24         # bytes
    ROUND_HOLD_NS = 25_000_000  # a round stays at its top for so long: looks from outside come every 20 ms


cdef struct Rounds:
    long count
    long paused_ns          # on purpose: nobody's work
    long[2] half_peak       # highest RSS at the top of any round, in the first and in the second half
    char[ROUNDS_SHOWN][ROUND_NAME] name


cdef inline void rounds_begin(Cell* cell, Rounds* r, long count) noexcept nogil:
    """The window begins; `count` rounds will run in it."""
    r.count = count
    r.paused_ns = 0
    r.half_peak[0] = r.half_peak[1] = 0
    window_begin(cell)


cdef inline void rounds_pause(Rounds* r, long ns) noexcept nogil:
    """Do nothing for so long."""
    r.paused_ns += ns
    sleep_until_ns(now_ns() + ns)


cdef inline void round_top(Cell* cell, Rounds* r, long number, long live) noexcept nogil:
    """Round `number`, 0 .. count-1, holds the most that it will: note its RSS, and stay there for a moment."""
    cdef long every = (r.count + ROUNDS_SHOWN - 1) // ROUNDS_SHOWN, rss = resident_bytes()
    cdef int half = 2 * number >= r.count
    cdef char* name = r.name[number // every]
    r.half_peak[half] = rss if rss > r.half_peak[half] else r.half_peak[half]
    if (r.count - 1 - number) % every == 0:     # the last round always has a mark
        snprintf(name, ROUND_NAME, b"round %ld", number + 1)
        mark(cell, name, live)
    rounds_pause(r, ROUND_HOLD_NS)


cdef inline void rounds_end(Cell* cell, const Rounds* r, long operations, long live) noexcept nogil:
    """The window ends: `operations` were done in all, `live` bytes are held.

    Tells the peaks of both halves: a rise with the rounds is their difference.
    """
    cell.paused_ns = r.paused_ns
    window_end(cell, operations, live)
    mark(cell, b"end", live)
    metric(cell, b"first_half_peak_bytes", <double>r.half_peak[0])
    if r.half_peak[1] > 0:      # a single round has no second half
        metric(cell, b"second_half_peak_bytes", <double>r.half_peak[1])
