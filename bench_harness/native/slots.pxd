"""A table of live blocks with their sizes, in memory of the harness's own.

The sizes are written at each allocation and read only when somebody asks: counting live bytes costs the
measured loop one store to a dense array, and no read of a block that is about to be freed.
"""
from libc.stdint cimport uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from bench_harness.native.cell cimport Cell, out_of_memory
from bench_harness.native.system cimport map_pages, unmap_pages


cdef struct Slots:
    long count
    void** block            # NULL where empty
    uint32_t* size          # bytes asked for; meaningless where the block is NULL


cdef inline void slots_new(Cell* cell, Slots* s, long count) noexcept nogil:
    """An empty table of `count` slots."""
    cdef size_t bytes = <size_t>count * (sizeof(void*) + sizeof(uint32_t))
    s.count = count
    s.block = <void**>map_pages(bytes)
    if s.block == NULL:
        out_of_memory(bytes)
    s.size = <uint32_t*>(s.block + count)
    cell.own += <long>bytes


cdef inline void slot_fill(Slots* s, long i, uint32_t size) noexcept nogil:
    """Put a fresh block of `size` bytes into slot i, which must be empty; its first byte is written."""
    cdef char* p = <char*>malloc(size)
    if p == NULL:
        out_of_memory(size)
    p[0] = 1
    s.block[i] = p
    s.size[i] = size


cdef inline void slot_clear(Slots* s, long i) noexcept nogil:
    """Free the block of slot i (an empty slot is fine)."""
    free(s.block[i])
    s.block[i] = NULL


cdef inline long slots_live(const Slots* s) noexcept nogil:
    """Bytes asked for and not yet freed."""
    cdef long total = 0, i
    for i in range(s.count):
        if s.block[i] != NULL:
            total += s.size[i]
    return total
