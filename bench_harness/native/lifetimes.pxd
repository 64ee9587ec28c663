"""Blocks that live for a time that is drawn at their birth, in ticks: a wheel of lists, by when their blocks are due.

Three levels of WHEEL lists: the first holds what is due within WHEEL ticks, a list per tick; the second a list per
WHEEL ticks, the third per WHEEL^2. When the first level has turned once, the next list of the second is spread over
it. So a birth and a death cost some ten steps, whatever lives. Nothing is kept in the blocks but their first byte.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from bench_harness.native.cell cimport Cell, corrupt, out_of_memory
from bench_harness.native.system cimport blocks_overlap, map_pages

cdef enum:
    WHEEL_BITS = 11
    WHEEL = 1 << WHEEL_BITS
    LEVELS = 3
    PAGE = 4096             # bytes between two touched ones


cdef struct Lived:
    unsigned char* block
    uint64_t due            # the tick of its death
    uint32_t size           # bytes
    uint32_t next           # in its list; 0 ends it


cdef struct Lifetimes:
    Lived* node             # 0 is none
    uint32_t room
    uint32_t used           # nodes that were ever in use
    uint32_t free           # list of those that are not
    uint32_t* list          # LEVELS x WHEEL
    uint64_t tick
    long live               # bytes
    bint check              # what blocks hold


cdef inline void lifetimes_new(Cell* cell, Lifetimes* l, long most) noexcept nogil:
    """An empty wheel for at most `most` live blocks."""
    cdef size_t bytes = <size_t>(most + 1) * sizeof(Lived), lists = LEVELS * WHEEL * sizeof(uint32_t)
    l.node = <Lived*>map_pages(bytes)
    l.list = <uint32_t*>map_pages(lists)
    if l.node == NULL or l.list == NULL:
        out_of_memory(bytes + lists)
    cell.own += <long>lists     # the nodes count when they are used: see lifetimes_account
    l.room = <uint32_t>most
    l.used = l.free = 0
    l.tick, l.live = 0, 0
    l.check = not blocks_overlap()


cdef inline void lifetimes_account(Cell* cell, const Lifetimes* l) noexcept nogil:
    """At the end: count what is live, and the nodes that were ever used as the harness's own memory."""
    cell.live += l.live
    cell.own += l.used * <long>sizeof(Lived)


cdef inline void lived_enter(Lifetimes* l, uint32_t n) noexcept nogil:
    """Put a node into the list of its death."""
    cdef uint64_t due = l.node[n].due, ahead = due - l.tick
    cdef uint32_t* list
    if ahead < WHEEL:
        list = &l.list[due & (WHEEL - 1)]
    elif ahead < <uint64_t>1 << (2 * WHEEL_BITS):
        list = &l.list[WHEEL + ((due >> WHEEL_BITS) & (WHEEL - 1))]
    else:                   # what lives longer than the wheel can tell is asked again when its turn comes
        list = &l.list[2 * WHEEL + ((due >> (2 * WHEEL_BITS)) & (WHEEL - 1))]
    l.node[n].next = list[0]
    list[0] = n


cdef inline void lived_born(Lifetimes* l, uint32_t size, uint64_t ticks) noexcept nogil:
    """A new block of `size` bytes, each page written once, that lives for so many ticks, at least one."""
    cdef uint32_t n = l.free, at = PAGE
    cdef unsigned char* p = <unsigned char*>malloc(size)
    if p == NULL:
        out_of_memory(size)
    if n != 0:
        l.free = l.node[n].next
    elif l.used < l.room:
        l.used += 1
        n = l.used
    else:
        free(p)             # the table is full: by chance so much lives at once
        return
    p[0] = <unsigned char>n
    while at < size:
        p[at] = 1
        at += PAGE
    l.node[n].block, l.node[n].size = p, size
    l.node[n].due = l.tick + (ticks if ticks > 0 else 1)
    l.live += size
    lived_enter(l, n)


cdef inline void lived_dies(Lifetimes* l, uint32_t n) noexcept nogil:
    cdef Lived* node = &l.node[n]
    if l.check and node.block[0] != <unsigned char>n:
        corrupt(b"a block's first byte has changed while it lived")
    free(node.block)
    l.live -= node.size
    node.next = l.free
    l.free = n


cdef inline void lifetimes_spread(Lifetimes* l, int level) noexcept nogil:
    """Enter what the level's list of this moment holds anew: it is nearer now."""
    cdef uint32_t* list = &l.list[level * WHEEL + <long>((l.tick >> (level * WHEEL_BITS)) & (WHEEL - 1))]
    cdef uint32_t n = list[0], next
    list[0] = 0
    while n != 0:
        next = l.node[n].next
        lived_enter(l, n)
        n = next


cdef inline long lifetimes_tick(Lifetimes* l) noexcept nogil:
    """Go on by one tick; returns the number of blocks that died in it."""
    cdef uint32_t n, next
    cdef long died = 0
    l.tick += 1
    if (l.tick & (WHEEL - 1)) == 0:
        if (l.tick & ((1 << (2 * WHEEL_BITS)) - 1)) == 0:
            lifetimes_spread(l, 2)
        lifetimes_spread(l, 1)
    n = l.list[l.tick & (WHEEL - 1)]
    l.list[l.tick & (WHEEL - 1)] = 0
    while n != 0:
        next = l.node[n].next
        lived_dies(l, n)
        died += 1
        n = next
    return died
