# Cells: the memory of a heap's bins.
# A bin's block is a power of two of them, cut from one area; blocks that a bin has outgrown wait for the next one of
# their size.
from libc.stdint cimport uint32_t
from libc.string cimport memset

from rtmalloc.core.types cimport Heap

cdef enum:
    CELL_COUNT = 32768         # of a heap: 256 KiB of address space, resident as far as bins reach


cdef inline void** cells_take(Heap* h, uint32_t level) noexcept nogil:
    # A block of 2**level cells, or NULL when all are in use.
    cdef void** block = h.cell_free[level]
    if block != NULL:
        h.cell_free[level] = <void**>block[0]
    elif h.cell_top + (1 << level) <= h.cell_count:
        block = &h.cells[h.cell_top]
        h.cell_top += 1 << level
    return block


cdef inline void cells_give(Heap* h, void** block, uint32_t level) noexcept nogil:
    # Take a block back.
    block[0] = h.cell_free[level]
    h.cell_free[level] = block


cdef inline void cells_reset(Heap* h) noexcept nogil:
    # No bin has a block any more.
    h.cell_top = 0
    memset(h.cell_free, 0, sizeof(h.cell_free))
