# What is known of a block by its address.
from libc.stdint cimport uint32_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64
from rtmalloc.core.base.config cimport RT_SLICE_BYTES
from rtmalloc.core.base.size_class cimport class_of_size, rt_class_largest, rt_class_size
from rtmalloc.core.calls.giant cimport giant_bytes
from rtmalloc.core.calls.large cimport large_bytes
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.pages.tag cimport BIN_BYTES, TAG_LARGE, TAG_SAMPLED, tag_code, tag_find_inside
from rtmalloc.core.profile.profile cimport profile_block_bytes
from rtmalloc.core.types cimport Allocator


cdef inline size_t block_bytes(const void* p) noexcept nogil:
    # Usable bytes of the block that begins at `p`, 0 when it is none of ours.
    cdef Allocator* a = allocator()
    cdef uint32_t tag, code
    if not tag_find_inside(&a.arena, p, &tag):
        return giant_bytes(a, p)
    code = tag_code(tag)
    if code == TAG_LARGE:
        return large_bytes(a, <uint32_t>arena_slice_of(&a.arena, p))
    if code == TAG_SAMPLED:
        return profile_block_bytes(a, p)
    return rt_class_size[code // BIN_BYTES]


cdef inline bint block_is_ours(const void* p) noexcept nogil:
    # Whether `p` points to (or into) a block of this allocator; any pointer may be asked about.
    cdef Allocator* a = allocator()
    return arena_slice_of(&a.arena, p) < rt_load_relaxed_u64(&a.arena.slice_count) or giant_bytes(a, p) != 0


cdef inline size_t rt_usable_size "rt_usable_size"(void* p) noexcept nogil:
    return block_bytes(p) if p != NULL else 0


cdef inline size_t rt_good_size "rt_good_size"(size_t bytes) noexcept nogil:
    # What a block for a request of `bytes` will have.
    cdef uint32_t class_ = class_of_size(bytes) if bytes <= rt_class_largest else 0
    if class_:
        return rt_class_size[class_]
    if bytes > <size_t>-RT_SLICE_BYTES:
        return bytes
    return (bytes + RT_SLICE_BYTES - 1) & ~<size_t>(RT_SLICE_BYTES - 1)
