# The heartbeat. free counts down to the next tick, by which a heap sees the clock, and this count is also what makes free's
# fast path stop at an object that the profile has chosen (sample.pxd).
from libc.stdint cimport int32_t, uint32_t

from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.heaps.sample cimport sample_begin, sample_freed
from rtmalloc.core.types cimport Heap

cdef enum:
    BEAT_LEAST = 4             # frees between two ticks. A heap adapts, so that it ticks about as often as the clock moves
    BEAT_MOST = 256            # (4 ms); the most costs a busy thread 0.1 ns a free, and one that slows down to 1 000
                               # calls a second still ticks after a quarter of a second


cdef inline void beat_begin(Heap* h, int32_t until_tick) noexcept nogil:
    # Let the fast path count `until_tick` frees into bins, or fewer if one of them is chosen: it stops at the last.
    cdef int32_t stretch = until_tick
    if h.recording:
        if h.sample_freed.left < <uint32_t>stretch:
            stretch = <int32_t>h.sample_freed.left
        h.sample_freed.left -= <uint32_t>stretch
    h.beat_rest = until_tick - stretch
    h.beat = stretch - 1


cdef inline void beat_break(Heap* h) noexcept nogil:
    # Before another stretch begins in the middle of one: frees that did not happen do not count.
    if h.recording and h.beat >= 0:
        h.sample_freed.left += <uint32_t>(h.beat + 1)


cdef inline cold_void beat_renew(Heap* h) noexcept nogil:
    # The calling thread follows a recording that has just begun or ended; the others do so at their next tick.
    beat_break(h)
    sample_begin(h)
    beat_begin(h, h.beat_length)
