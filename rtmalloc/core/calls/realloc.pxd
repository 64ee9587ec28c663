# realloc: in place where the block allows it, by moving page tables where it is large, else by copying.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from rtmalloc.core.base._options cimport RT_OPTION_remap_kib
from rtmalloc.core.base.attributes cimport inlined_pointer, slow_pointer
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.base.platform cimport ENOMEM, rt_set_errno
from rtmalloc.core.base.size_class cimport rt_class_largest, rt_class_size
from rtmalloc.core.calls.calloc cimport rt_multiply
from rtmalloc.core.calls.front cimport rt_free, rt_malloc
from rtmalloc.core.calls.giant cimport giant_bytes, giant_from_large, giant_resize
from rtmalloc.core.calls.large cimport large_bytes, large_resize, large_take
from rtmalloc.core.calls.malloc_slow cimport RT_LARGEST_REQUEST
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.pages.arena cimport arena_address, arena_slice_of
from rtmalloc.core.pages.tag cimport BIN_BYTES, BIN_END, TAG_LARGE, tag_code, tag_find_inside
from rtmalloc.core.profile.heap_profile cimport heap_profile_forget, heap_profile_note
from rtmalloc.core.profile.profile cimport profile_block_bytes
from rtmalloc.core.types cimport Allocator

cdef enum:
    GROWTH_SHIFT = 2           # a large block that realloc moves because it grows gets room for a quarter more
    SHRINK_KEEP = 64           # bytes: a block of at most so many is not moved to save space


cdef inline void* realloc_move_to(void* q, void* p, size_t bytes) noexcept nogil:
    # The first `bytes` of the block p move to the new block q; NULL for that leaves the old one as it is.
    if q != NULL:
        memcpy(q, p, bytes)
        rt_free(p)
    return q


cdef inline slow_pointer realloc_move(void* p, size_t before, size_t bytes) noexcept nogil:
    # A new block with the old one's content; NULL leaves the old one as it is.
    return realloc_move_to(rt_malloc(bytes), p, before if before < bytes else bytes)


cdef inline void* realloc_end(void* p, size_t before, void* q, size_t bytes) noexcept nogil:
    # A block that the heap profile has forgotten is at `q` now; NULL: it is copied to a new one, or stays as it was.
    if q != NULL:
        heap_profile_note(allocator(), q, bytes)
        return q
    q = realloc_move(p, before, bytes)
    if q == NULL:
        heap_profile_note(allocator(), p, before)
    return q


cdef inline void* realloc_large_stays(void* p, uint64_t slice, size_t bytes) noexcept nogil:
    # A large block of the arena with another size where its pages are, or by moving their tables; NULL: that cannot be.
    cdef Allocator* a = allocator()
    cdef void* q = NULL
    if large_resize(a, <uint32_t>slice, bytes):
        return p
    if bytes >= <size_t>a.options.value[RT_OPTION_remap_kib] * 1024:
        # Room to grow is address space only: what is not touched costs nothing.
        q = giant_from_large(a, <uint32_t>slice, bytes + bytes // 8)
        if q == NULL:
            q = giant_from_large(a, <uint32_t>slice, bytes)
    return q


cdef inline slow_pointer realloc_large(void* p, uint64_t slice, size_t bytes) noexcept nogil:
    # A large block of the arena grows or shrinks: in place, by moving its pages, or by copying.
    cdef Allocator* a = allocator()
    cdef size_t before
    cdef void* q
    if arena_address(&a.arena, slice) != p:
        complain_of_pointer(b"realloc", p, b"inside a large block, not its start")
    before = large_bytes(a, <uint32_t>slice)
    if bytes > RT_LARGEST_REQUEST:
        rt_set_errno(ENOMEM)
        return NULL
    if bytes <= rt_class_largest:
        return realloc_move(p, before, bytes)
    heap_profile_forget(a, p)
    q = realloc_large_stays(p, slice, bytes)
    if q == NULL and bytes > before:
        # It grows, and not for the first time: with some room behind it the next steps need no copy.
        q = realloc_move_to(large_take(a, bytes + (bytes >> GROWTH_SHIFT), 1), p, before)
    return realloc_end(p, before, q, bytes)


cdef inline slow_pointer realloc_outside(void* p, size_t bytes) noexcept nogil:
    cdef Allocator* a = allocator()
    cdef size_t before = giant_bytes(a, p)
    cdef void* q
    if before == 0:
        complain_of_pointer(b"realloc", p, b"not a block of this allocator")
    if bytes > RT_LARGEST_REQUEST:
        rt_set_errno(ENOMEM)
        return NULL
    if bytes <= before and bytes >= before - before // 4:
        return p
    if bytes < <size_t>a.options.value[RT_OPTION_remap_kib] * 512:
        return realloc_move(p, before, bytes)
    heap_profile_forget(a, p)
    q = NULL
    if bytes > before:
        # Room to grow is address space only: what is not touched costs nothing.
        q = giant_resize(a, p, bytes + bytes // 8)
    if q == NULL:
        q = giant_resize(a, p, bytes)
    if q == NULL and bytes <= before:
        q = p
    return realloc_end(p, before, q, bytes)


cdef inline void* realloc_nonzero(void* p, size_t bytes) noexcept nogil:
    # realloc that never frees: p == NULL allocates, bytes == 0 shrinks to the smallest block.
    cdef uint32_t tag
    if p == NULL:
        return rt_malloc(bytes)
    if not tag_find_inside(&allocator().arena, p, &tag):
        return realloc_outside(p, bytes)
    return realloc_inside(tag, p, bytes)


cdef inline inlined_pointer realloc_inside(uint32_t tag, void* p, size_t bytes) noexcept nogil:
    # A block of the arena.
    cdef Allocator* a = allocator()
    cdef uint32_t code = tag_code(tag)
    cdef size_t before
    if code == TAG_LARGE:
        return realloc_large(p, arena_slice_of(&a.arena, p), bytes)
    if code == 0:
        complain_of_pointer(b"realloc", p, b"no block is allocated there (freed before?)")
    before = rt_class_size[code // BIN_BYTES] if code < BIN_END else profile_block_bytes(a, p)
    if bytes <= before and (before <= SHRINK_KEEP or bytes > before // 2):
        return p
    return realloc_move(p, before, bytes)


cdef inline void* rt_realloc "rt_realloc"(void* p, size_t bytes) noexcept nogil:
    # As glibc does, and programs on Linux expect: realloc(p, 0) frees p and returns NULL.
    if bytes == 0 and p != NULL:
        rt_free(p)
        return NULL
    return realloc_nonzero(p, bytes)


cdef inline void* rt_reallocarray "rt_reallocarray"(void* p, size_t count, size_t size) noexcept nogil:
    cdef size_t bytes = 0
    if not rt_multiply(count, size, &bytes):
        rt_set_errno(ENOMEM)
        return NULL
    return rt_realloc(p, bytes)
