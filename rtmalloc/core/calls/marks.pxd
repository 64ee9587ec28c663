# madvise, mprotect and mlock under their own names: what they tell of a block must not outlive the block.
# Not for children, locked, read-only: such marks stay with addresses. The calls note the segments, and a run of slices that
# comes back there is mapped anew.
from libc.stdint cimport uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64
from rtmalloc.core.base.platform cimport rt_os_madvise, rt_os_mlock, rt_os_mlock2, rt_os_mprotect
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.pages.page_heap cimport page_heap_marks
from rtmalloc.core.types cimport Allocator

cdef enum:
    ADVICE_LASTS_FIRST = 10    # MADV_DONTFORK: from here on advice stays with the addresses ...
    ADVICE_LASTS_LAST = 19     # ... up to MADV_KEEPONFORK. The others tell of the pages that are there now


cdef inline void marks_note(const void* p, size_t bytes) noexcept nogil:
    # The program is about to tell the kernel something lasting about [p, p + bytes).
    cdef Allocator* a = allocator()
    cdef uint64_t slice = arena_slice_of(&a.arena, p)
    if bytes and slice < rt_load_relaxed_u64(&a.arena.slice_count):
        page_heap_marks(&a.arena.pages, slice, arena_slice_of(&a.arena, <const char*>p + bytes - 1) + 1)


cdef inline int marks_madvise "rt_marks_madvise"(void* p, size_t bytes, int advice) noexcept nogil:
    if ADVICE_LASTS_FIRST <= advice <= ADVICE_LASTS_LAST:
        marks_note(p, bytes)
    return rt_os_madvise(p, bytes, advice)


cdef inline int marks_mprotect "rt_marks_mprotect"(void* p, size_t bytes, int access) noexcept nogil:
    marks_note(p, bytes)
    return rt_os_mprotect(p, bytes, access)


cdef inline int marks_mlock "rt_marks_mlock"(const void* p, size_t bytes) noexcept nogil:
    marks_note(p, bytes)
    return rt_os_mlock(p, bytes)


cdef inline int marks_mlock2 "rt_marks_mlock2"(const void* p, size_t bytes, unsigned int flags) noexcept nogil:
    marks_note(p, bytes)
    return rt_os_mlock2(p, bytes, flags)
