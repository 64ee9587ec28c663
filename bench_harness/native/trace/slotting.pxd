"""Slots for blocks: places in small tables, used again and again, so that a replay needs memory for what is live only.

A block that its own thread frees gets a slot of that thread, the latest freed first. A block that changes hands gets
a slot of the table that all threads share; it is used again two slices after its block went, because the threads of
a replay are never two slices apart (player.pxd): by then every thread has left the slice in which it went.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy
from bench_harness.native.system cimport map_pages, unmap_pages

cdef enum:
    FREED_FIRST = 1024      # entries of a new list
    REST_SLICES = 2


cdef struct Freed:          # a queue in a ring: taken from either end
    uint64_t* entry
    uint64_t room           # a power of two
    uint64_t first
    uint64_t count


cdef inline bint freed_add(Freed* f, uint64_t value) noexcept nogil:
    """Append; False without memory."""
    cdef uint64_t room = f.room * 2 if f.room > 0 else FREED_FIRST, i
    cdef uint64_t* wider
    if f.count == f.room:
        wider = <uint64_t*>map_pages(room * sizeof(uint64_t))
        if wider == NULL:
            return False
        for i in range(f.count):
            wider[i] = f.entry[(f.first + i) & (f.room - 1)]
        if f.room > 0:
            unmap_pages(f.entry, f.room * sizeof(uint64_t))
        f.entry, f.room, f.first = wider, room, 0
    f.entry[(f.first + f.count) & (f.room - 1)] = value
    f.count += 1
    return True


cdef inline uint32_t own_slot(Freed* f, uint32_t* slots) noexcept nogil:
    """A slot of a thread's own table of `slots` places, which grows by one when all are in use."""
    if f.count > 0:
        f.count -= 1
        return <uint32_t>f.entry[(f.first + f.count) & (f.room - 1)]
    slots[0] += 1
    return slots[0] - 1


cdef inline bint own_slot_free(Freed* f, uint32_t slot) noexcept nogil:
    return freed_add(f, slot)


cdef inline uint32_t shared_slot(Freed* f, uint64_t* slots, uint64_t slice) noexcept nogil:
    """A slot of the shared table, for a block that is made in this slice."""
    cdef uint64_t oldest = f.entry[f.first & (f.room - 1)] if f.count > 0 else 0
    if f.count > 0 and (oldest >> 32) + REST_SLICES <= slice:
        f.first += 1
        f.count -= 1
        return <uint32_t>oldest
    slots[0] += 1
    return <uint32_t>(slots[0] - 1)


cdef inline bint shared_slot_free(Freed* f, uint32_t slot, uint64_t slice) noexcept nogil:
    return freed_add(f, slice << 32 | slot)
