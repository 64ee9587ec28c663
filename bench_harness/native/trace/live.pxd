"""A hash table from addresses of live blocks to the blocks' numbers: open addressing, without tombstones."""
from libc.stdint cimport uint32_t, uint64_t
from bench_harness.native.system cimport map_pages, unmap_pages

cdef enum:
    LIVE_FIRST = 1 << 16    # places of a new table; it doubles when it is half full


cdef struct Place:
    uint64_t address        # 0: empty
    uint64_t block


cdef struct Live:
    Place* place
    uint64_t room           # a power of two
    uint64_t used


cdef inline bint live_new(Live* live, uint64_t room) noexcept nogil:
    """An empty table; False without memory."""
    live.place = <Place*>map_pages(room * sizeof(Place))
    live.room = room
    live.used = 0
    return live.place != NULL


cdef inline void live_drop(Live* live) noexcept nogil:
    """Give the table's memory back."""
    unmap_pages(live.place, live.room * sizeof(Place))


cdef inline uint64_t live_home(const Live* live, uint64_t address) noexcept nogil:
    return (address * <uint64_t>0x9E3779B97F4A7C15 >> 20) & (live.room - 1)


cdef inline Place* live_find(const Live* live, uint64_t address) noexcept nogil:
    """The address's place, or the empty one where it would stand."""
    cdef uint64_t i = live_home(live, address)
    while live.place[i].address != address and live.place[i].address != 0:
        i = (i + 1) & (live.room - 1)
    return &live.place[i]


cdef inline bint live_grow(Live* live) noexcept nogil:
    cdef Live wider
    cdef uint64_t i
    if not live_new(&wider, live.room * 2):
        return False
    for i in range(live.room):
        if live.place[i].address != 0:
            live_find(&wider, live.place[i].address)[0] = live.place[i]
    wider.used = live.used
    live_drop(live)
    live[0] = wider
    return True


cdef inline bint live_put(Live* live, uint64_t address, uint64_t block) noexcept nogil:
    """Enter a block, in place of what the address held; False without memory."""
    cdef Place* p
    if live.used * 2 >= live.room and not live_grow(live):
        return False
    p = live_find(live, address)
    live.used += p.address == 0
    p.address = address
    p.block = block
    return True


cdef inline void live_remove(Live* live, Place* p) noexcept nogil:
    """Empty a place, and move those that follow it to where they would have stood without it."""
    cdef uint64_t hole = <uint64_t>(p - live.place), i = hole, home
    while True:
        i = (i + 1) & (live.room - 1)
        if live.place[i].address == 0:
            break
        home = live_home(live, live.place[i].address)
        # It may move into the hole unless its home lies behind the hole, cyclically.
        if ((i - home) & (live.room - 1)) >= ((i - hole) & (live.room - 1)):
            live.place[hole] = live.place[i]
            hole = i
    live.place[hole].address = 0
    live.used -= 1
