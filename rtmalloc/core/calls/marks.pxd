# madvise, mprotect, mlock and mbind under their own names: what they tell of a block must not outlive the block.
# Not for children, locked, read-only, on one node: such marks stay with addresses. The calls note the segments, and a run of slices that
# comes back there is mapped anew.
from libc.stdint cimport uint64_t

from cython cimport unlikely

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_load_relaxed_u64
from rtmalloc.core.base.platform cimport rt_os_madvise, rt_os_mbind, rt_os_mlock, rt_os_mlock2, rt_os_mprotect
from rtmalloc.core.calls.hooks cimport hooks_pass, rt_is_image, rt_passing
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
    if unlikely(rt_is_image(p) and not rt_load_relaxed_u32(&rt_passing)):
        # Who makes our own table of addresses writable is a profiler that puts itself between (memray, heaptrack).
        hooks_pass()
    marks_note(p, bytes)
    return rt_os_mprotect(p, bytes, access)


cdef inline int marks_mlock "rt_marks_mlock"(const void* p, size_t bytes) noexcept nogil:
    marks_note(p, bytes)
    return rt_os_mlock(p, bytes)


cdef inline int marks_mlock2 "rt_marks_mlock2"(const void* p, size_t bytes, unsigned int flags) noexcept nogil:
    marks_note(p, bytes)
    return rt_os_mlock2(p, bytes, flags)


cdef inline long marks_mbind "rt_marks_mbind"(
    void* p, unsigned long bytes, int how, const unsigned long* nodes, unsigned long most, unsigned int flags
) noexcept nogil:
    # (libnuma's name.)
    marks_note(p, bytes)
    return rt_os_mbind(p, bytes, how, nodes, most, flags)
