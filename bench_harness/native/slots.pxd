"""A table of live blocks, in memory of the harness's own, and what can be computed from it.

Each block starts with its own size in 4 bytes. A program writes into what it allocates anyway, and the sizes are
read only when somebody asks for the live bytes: nothing is read of a block that is about to be freed.
"""
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from bench_harness.native.cell cimport Cell, cell_pages, out_of_memory
from bench_harness.native.system cimport map_pages, unmap_pages

cdef enum:
    PAGE_SHIFT = 12         # the page bound counts pages of 4 KiB, whatever the kernel's page is


cdef struct Slots:
    long count
    void** block            # NULL where empty


cdef inline void slots_new(Cell* cell, Slots* s, long count) noexcept nogil:
    """An empty table of `count` slots."""
    cdef size_t bytes = <size_t>count * sizeof(void*)
    s.count = count
    s.block = <void**>cell_pages(cell, bytes)


cdef inline void* block_new(uint32_t size) noexcept nogil:
    """A fresh block of `size` >= 4 bytes that says its own size."""
    cdef void* p = malloc(size)
    if p == NULL:
        out_of_memory(size)
    (<uint32_t*>p)[0] = size
    return p


cdef inline void slot_fill(Slots* s, long i, uint32_t size) noexcept nogil:
    """Put a fresh block into slot i, whose old block must be freed already."""
    s.block[i] = block_new(size)


cdef inline void slot_clear(Slots* s, long i) noexcept nogil:
    """Free the block of slot i (an empty slot is fine)."""
    free(s.block[i])
    s.block[i] = NULL


cdef inline void slot_move(Slots* source, long i, Slots* target, long k) noexcept nogil:
    """Move the block of slot i into slot k of another table, whose old block must be freed already."""
    target.block[k] = source.block[i]
    source.block[i] = NULL


cdef inline long slots_live(const Slots* s) noexcept nogil:
    """Bytes asked for and not yet freed."""
    cdef long total = 0, i
    for i in range(s.count):
        if s.block[i] != NULL:
            total += (<uint32_t*>s.block[i])[0]
    return total


cdef inline long slots_page_bound(const Slots* s) noexcept nogil:
    """Bytes of the distinct 4 KiB pages that hold a byte of a live block: no allocator can keep less resident.

    -1 when the blocks are spread so widely that the map of their pages cannot be reserved.
    """
    cdef uintptr_t low = ~<uintptr_t>0, high = 0, first, last
    cdef uint64_t* seen
    cdef size_t bytes
    cdef long pages = 0, i
    for i in range(s.count):
        if s.block[i] != NULL:
            first = <uintptr_t>s.block[i] >> PAGE_SHIFT
            last = (<uintptr_t>s.block[i] + (<uint32_t*>s.block[i])[0] - 1) >> PAGE_SHIFT
            low = first if first < low else low
            high = last if last > high else high
    if high == 0:
        return 0
    # One bit per page over the whole range; the kernel backs only those parts that are touched.
    bytes = ((high - low) >> 6) * sizeof(uint64_t) + sizeof(uint64_t)
    seen = <uint64_t*>map_pages(bytes)
    if seen == NULL:
        return -1
    for i in range(s.count):
        if s.block[i] != NULL:
            first = (<uintptr_t>s.block[i] >> PAGE_SHIFT) - low
            last = ((<uintptr_t>s.block[i] + (<uint32_t*>s.block[i])[0] - 1) >> PAGE_SHIFT) - low
            while first <= last:
                pages += not (seen[first >> 6] >> (first & 63)) & 1
                seen[first >> 6] |= <uint64_t>1 << (first & 63)
                first += 1
    unmap_pages(seen, bytes)
    return pages << PAGE_SHIFT
