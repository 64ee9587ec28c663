# Giants: blocks with a mapping of their own, outside of the arena.
# They did not fit, or realloc keeps growing them: the kernel then moves page tables, not bytes. They are known by their
# first page.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_add_u64
from rtmalloc.core.base.attributes cimport slow_pointer
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.base.platform cimport rt_os_map, rt_os_move_back, rt_os_move_pages, rt_os_remap, rt_os_unmap
from rtmalloc.core.base.radix cimport radix_get, radix_set, radix_take
from rtmalloc.core.calls.large cimport large_bytes, large_give
from rtmalloc.core.pages.arena cimport arena_address, arena_slice_of
from rtmalloc.core.pages.limit cimport limit_refuses
from rtmalloc.core.types cimport Allocator


cdef inline size_t giant_round(const Allocator* a, size_t bytes) noexcept nogil:
    return (bytes + a.arena.page_bytes - 1) & ~(a.arena.page_bytes - 1)


cdef inline slow_pointer giant_take(Allocator* a, size_t bytes, size_t alignment) noexcept nogil:
    # A zeroed block with a mapping of its own, or NULL.
    cdef size_t size = giant_round(a, bytes)
    cdef size_t slack = alignment if alignment > a.arena.page_bytes else 0
    cdef size_t misfit
    cdef char* p
    if size < bytes or size + slack < size:
        return NULL
    p = <char*>rt_os_map(size + slack)
    if p == NULL:
        return NULL
    if arena_slice_of(&a.arena, p) < a.arena.slice_limit:
        # The arena only intends its range, and a kernel that has nothing else left may place a mapping there.
        rt_os_unmap(p, size + slack)
        return NULL
    if slack:
        misfit = (alignment - (<size_t>p & (alignment - 1))) & (alignment - 1)
        if misfit:
            rt_os_unmap(p, misfit)
        if slack > misfit:
            rt_os_unmap(p + misfit + size, slack - misfit)
        p += misfit
    if not radix_set(&a.giants.map, p, size):
        rt_os_unmap(p, size)
        return NULL
    rt_add_u64(&a.giants.bytes, size)
    return p


cdef inline size_t giant_bytes(Allocator* a, const void* p) noexcept nogil:
    # Size of the giant that begins at `p`, 0 when none does.
    if <size_t>p & 4095:
        return 0
    return radix_get(&a.giants.map, p)


cdef inline bint giant_give(Allocator* a, void* p) noexcept nogil:
    # Unmap the giant at `p`; False when there is none (any more).
    cdef size_t size
    if <size_t>p & 4095:
        return False
    size = radix_take(&a.giants.map, p)
    if size == 0:
        return False
    rt_os_unmap(p, size)
    rt_add_u64(&a.giants.bytes, <uint64_t>-<int64_t>size)
    return True


cdef inline slow_pointer giant_resize(Allocator* a, void* p, size_t bytes) noexcept nogil:
    # The giant at `p` with room for `bytes`, perhaps elsewhere; NULL when the kernel refuses, and then nothing changed.
    cdef size_t before = radix_take(&a.giants.map, p)
    cdef size_t size = giant_round(a, bytes)
    cdef void* q
    if before == 0 or size < bytes:
        return NULL
    if size > before and limit_refuses(a, size - before):
        radix_set(&a.giants.map, p, before)
        return NULL
    q = p if size == before else rt_os_remap(p, before, size)
    if q == NULL:
        # The place of the old entry exists: this cannot fail.
        radix_set(&a.giants.map, p, before)
        return NULL
    if not radix_set(&a.giants.map, q, size):
        # Not even 32 KiB for the map, and the way back may be taken already: better no process than a wrong pointer.
        complain_of_pointer(b"realloc", p, b"out of memory for the map of giant blocks")
    if q != p:
        rt_add_u64(&a.giants.moved, 1)
    rt_add_u64(&a.giants.bytes, <uint64_t>(<int64_t>size - <int64_t>before))
    return q


cdef inline slow_pointer giant_from_large(Allocator* a, uint32_t slice, size_t bytes) noexcept nogil:
    # Move a block of the arena to a mapping of its own with room for `bytes`, by its page tables. The slices stay
    # mapped and are zero afterwards. NULL when the kernel cannot (before Linux 5.7), and then nothing changed.
    cdef char* home = arena_address(&a.arena, slice)
    cdef size_t before = large_bytes(a, slice)
    cdef size_t size = giant_round(a, bytes)
    cdef char* moved
    cdef char* grown
    if size < bytes or (<size_t>home | before) & (a.arena.page_bytes - 1) or limit_refuses(a, size - before):
        return NULL
    moved = <char*>rt_os_move_pages(home, before)
    if moved == NULL:
        return NULL
    grown = <char*>rt_os_remap(moved, before, size)
    if grown == NULL or not radix_set(&a.giants.map, grown, size):
        # Back home, where the slices still wait. The kernel has just unmapped more than this maps.
        if rt_os_move_back(grown if grown != NULL else moved, size if grown != NULL else before, home, before) != 0:
            complain_of_pointer(b"realloc", home, b"the kernel took the block's pages and does not give them back")
        return NULL
    rt_add_u64(&a.giants.moved, 1)
    rt_add_u64(&a.giants.bytes, size)
    large_give(a, slice)
    return grown
