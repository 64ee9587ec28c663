# Spans in order, by address or the latest first: a pairing heap through the spans' own links.
# Insert is O(1), taking the lowest or removing any one is O(log n) amortised, and nothing is allocated. Each shelf has
# one, under its lock.
from libc.stdint cimport uint64_t

from rtmalloc.core.types cimport Span

# A span's rank is its address, or with address_order=0 one less than the rank of the queue's first: a stack. A queue may
# hold both kinds, after a change of the option.
#
# A queue is a pointer to its lowest span, NULL when empty. `previous` of a span is its parent if it is a first child,
# else the sibling before it; the lowest span has none.


cdef inline Span* span_queue_merge(Span* a, Span* b) noexcept nogil:
    # One tree of two; either may be NULL, and neither has siblings.
    cdef Span* other
    if a == NULL:
        return b
    if b == NULL:
        return a
    if b.rank < a.rank:
        other = a
        a = b
        b = other
    b.previous = a
    b.sibling = a.child
    if b.sibling != NULL:
        b.sibling.previous = b
    a.child = b
    return a


cdef inline Span* span_queue_gather(Span* first) noexcept nogil:
    # Merge a list of siblings into one tree: pairs from left to right, then the pairs from right to left.
    cdef Span* pairs = NULL     # stack of merged pairs, linked by `sibling`
    cdef Span* a
    cdef Span* b
    cdef Span* rest
    while first != NULL:
        a = first
        b = a.sibling
        rest = b.sibling if b != NULL else NULL
        a.sibling = NULL
        a.previous = NULL
        if b != NULL:
            b.sibling = NULL
            b.previous = NULL
        a = span_queue_merge(a, b)
        a.sibling = pairs
        pairs = a
        first = rest
    a = NULL
    while pairs != NULL:
        rest = pairs.sibling
        pairs.sibling = NULL
        a = span_queue_merge(a, pairs)
        pairs = rest
    return a


cdef inline void span_queue_insert(Span** queue, Span* s, bint by_address) noexcept nogil:
    # Put a span in by its address, or in front of all others.
    s.rank = <uint64_t><size_t>s if by_address or queue[0] == NULL else queue[0].rank - 1
    s.child = NULL
    s.sibling = NULL
    s.previous = NULL
    queue[0] = span_queue_merge(queue[0], s)


cdef inline Span* span_queue_take(Span** queue) noexcept nogil:
    # Remove and return the lowest span; NULL when there is none.
    cdef Span* s = queue[0]
    if s != NULL:
        queue[0] = span_queue_gather(s.child)
    return s


cdef inline void span_queue_remove(Span** queue, Span* s) noexcept nogil:
    # Remove a span that is in the queue.
    cdef Span* subtree
    if s == queue[0]:
        span_queue_take(queue)
        return
    if s.previous.child == s:
        s.previous.child = s.sibling
    else:
        s.previous.sibling = s.sibling
    if s.sibling != NULL:
        s.sibling.previous = s.previous
    subtree = span_queue_gather(s.child)
    queue[0] = span_queue_merge(queue[0], subtree)
