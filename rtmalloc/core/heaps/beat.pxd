# The heartbeat: free counts down to the next tick, by which a heap sees the clock.
# This count is also what makes free's fast path stop at an object that the profile has chosen (sample.pxd).
from libc.stdint cimport int32_t, uint32_t

from rtmalloc.core.types cimport Heap

cdef enum:
    BEAT_LEAST = 4             # frees between two ticks. A heap adapts, so that it ticks about as often as the clock moves
    BEAT_MOST = 256            # (4 ms); the most costs a busy thread 0.1 ns a free, and one that slows down to 1 000
                               # calls a second still ticks after a quarter of a second


cdef inline uint32_t beat_frees(const Heap* h) noexcept nogil:
    # Frees into bins since the heap was made, modulo 2**32.
    return h.beat_end - <uint32_t>h.beat


cdef inline void beat_begin(Heap* h, int32_t until_tick) noexcept nogil:
    # Let the fast path count `until_tick` frees into bins, or fewer if one of them is chosen: it stops at the last.
    cdef int32_t stretch = until_tick
    cdef uint32_t freed = beat_frees(h)
    if h.recording:
        if h.sample_freed.left < <uint32_t>stretch:
            stretch = <int32_t>h.sample_freed.left
        h.sample_freed.left -= <uint32_t>stretch
    h.beat_rest = until_tick - stretch
    h.beat = stretch - 1
    h.beat_end = freed + <uint32_t>h.beat


cdef inline void beat_break(Heap* h) noexcept nogil:
    # Before another stretch begins in the middle of one: frees that did not happen do not count.
    if h.recording and h.beat >= 0:
        h.sample_freed.left += <uint32_t>(h.beat + 1)
