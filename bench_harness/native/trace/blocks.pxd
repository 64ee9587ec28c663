"""The blocks of a replay: made, touched, moved and freed as the trace tells, and checked for what they should hold.

A block's first byte, and its last one where the whole block is touched, hold its slot's low byte. They are looked at
before the block goes, and after realloc has moved it. The two lowest bits of a slot say which of the bytes are there,
which is why a block's address must be a multiple of 4.
"""
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from bench_harness.native.cell cimport corrupt, out_of_memory
from bench_harness.native.trace.format cimport TRACE_PAGE

cdef extern from "stdlib.h" nogil:
    void* aligned_alloc(size_t, size_t)

cdef enum:
    FIRST_BYTE = 1, LAST_BYTE = 2, MARKS = 3
    WHOLE = 0x7FFFFFFF      # `pages`: every page is touched, and the last byte


cdef inline uintptr_t block_touch(void* block, uint64_t size, uint64_t pages, unsigned char mark) noexcept nogil:
    """Write `mark` at the begin of the first `pages` pages, and at the end if all are; returns what a slot holds."""
    cdef unsigned char* p = <unsigned char*>block
    cdef uint64_t at, end = size if pages == WHOLE or pages * TRACE_PAGE >= size else pages * TRACE_PAGE
    if end == 0:
        return <uintptr_t>block
    p[0] = mark
    at = TRACE_PAGE
    while at < end:
        p[at] = mark
        at += TRACE_PAGE
    if end < size:
        return <uintptr_t>block | FIRST_BYTE
    p[size - 1] = mark
    return <uintptr_t>block | FIRST_BYTE | LAST_BYTE


cdef inline uintptr_t block_made(void* block, uint64_t size, uint64_t pages, unsigned char mark) noexcept nogil:
    """A fresh block's slot; without a block the cell ends."""
    if block == NULL:
        if size > 0:
            out_of_memory(size)
        return 0
    if (<uintptr_t>block & MARKS) != 0:
        corrupt(b"the allocator returned a block at an odd address")
    return block_touch(block, size, pages, mark)


cdef inline uintptr_t block_malloc(uint64_t size, uint64_t pages, unsigned char mark) noexcept nogil:
    return block_made(malloc(size), size, pages, mark)


cdef inline uintptr_t block_calloc(uint64_t size, uint64_t pages, unsigned char mark, bint check) noexcept nogil:
    """Its touched bytes must be zero; those that are not touched are not read, which would cost a page."""
    cdef unsigned char* p = <unsigned char*>calloc(1, size)
    if check and p != NULL and size > 0 and pages == WHOLE and (p[0] | p[size - 1]) != 0:
        corrupt(b"a block of calloc was not zero")
    return block_made(p, size, pages, mark)


cdef inline uintptr_t block_aligned(uint64_t size, uint64_t shift, uint64_t pages, unsigned char mark) noexcept nogil:
    cdef uint64_t alignment = <uint64_t>1 << shift
    # aligned_alloc asks for a multiple of the alignment, which memalign and posix_memalign do not.
    cdef void* p = aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1))
    if (<uintptr_t>p & (alignment - 1)) != 0:
        corrupt(b"a block is not aligned as it was asked for")
    return block_made(p, size, pages, mark)


cdef inline void block_check(uintptr_t slot, unsigned char mark) noexcept nogil:
    """The first byte still holds the mark, if it was written."""
    if (slot & FIRST_BYTE) != 0 and (<unsigned char*>(slot & ~<uintptr_t>MARKS))[0] != mark:
        corrupt(b"a block's first byte has changed: the allocator gave it out twice, or wrote into it")


cdef inline void block_free(uintptr_t slot, unsigned char mark, bint check) noexcept nogil:
    if check:
        block_check(slot, mark)
    free(<void*>(slot & ~<uintptr_t>MARKS))


cdef inline uintptr_t block_realloc(uintptr_t slot, uint64_t old, unsigned char mark, uint64_t size, uint64_t pages,
                                    unsigned char new_mark, bint check) noexcept nogil:
    """Resize from `old` to `size` bytes; first and last byte must have come along."""
    cdef unsigned char* p = <unsigned char*>realloc(<void*>(slot & ~<uintptr_t>MARKS), size)
    if check and p != NULL and size > 0:
        if (slot & FIRST_BYTE) != 0 and p[0] != mark:
            corrupt(b"realloc lost a block's first byte")
        if (slot & LAST_BYTE) != 0 and 0 < old <= size and p[old - 1] != mark:
            corrupt(b"realloc lost a block's last byte")
    return block_made(p, size, pages, new_mark)
