# The central store of one size class: spans that no thread owns, lowest address first. A thread that exits leaves its
# unfinished spans here, and the next thread that needs the class adopts the lowest.
#
# Under the class lock: the queue, the state of unowned spans, and every change of a tag from or to "unowned".
# Frees into unowned spans take no lock; only the free that makes a span whole, or usable again, does (span_put).
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from rtmalloc.core.base.lock cimport Lock
from rtmalloc.core.spans.span cimport Span

cdef enum:
    CLASSES_MOST = 128         # array sizes; a table may have up to 125 classes

cdef struct Central:
    Lock lock
    uint32_t count             # spans in the queue; read without the lock as a hint
    Span* queue                # LISTED spans
    uint64_t adopted           # spans that a thread took from here
    uint64_t abandoned         # spans that exiting threads left, listed or not
    uint8_t padding[32]        # one cache line per class
