# Where the tag of an address is looked up, in the variants lookup-header, lookup-flat and lookup-radix.
# The default is in pages/tag.pxd. RT_LOOKUP chooses when the library is compiled.
#
#     RT_LOOKUP_HEADER   in the first slice of each segment, by the address's mask. No run reaches over a segment's border
#     RT_LOOKUP_FLAT     a table of all addresses that a process can have: 16 GiB of address space, no base
#     RT_LOOKUP_RADIX    three levels of nodes: three loads that wait for each other
from libc.stdint cimport uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_load_relaxed_u64
from rtmalloc.core.base.config cimport (
    RT_ADDRESS_BITS, RT_LOOKUP, RT_LOOKUP_FLAT, RT_LOOKUP_HEADER, RT_LOOKUP_RADIX, RT_SEGMENT_BYTES, RT_SLICE_BYTES,
    RT_SLICE_SHIFT,
)
from rtmalloc.core.base.platform cimport rt_os_map_at, rt_os_open, rt_os_reserve_zeros
from rtmalloc.core.base.radix cimport RADIX_PAGE_SHIFT, radix_place
from rtmalloc.core.pages.arena cimport arena_address, arena_slice_of
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.types cimport Arena, RadixMap


cdef inline const void* lookup_radix_key(const void* p) noexcept nogil:
    # What stands for the slice of `p` in the radix tree, whose unit is a page.
    return <const void*>(<size_t>p >> (RT_SLICE_SHIFT - RADIX_PAGE_SHIFT))


cdef inline int lookup_open_radix(Arena* a, uint64_t first, uint64_t end) noexcept nogil:
    # Make the leaves for slices [first, end), so that their places exist whenever a tag is set; 0 on success.
    cdef uint64_t slice = first
    while slice < end:
        if radix_place(&a.radix, lookup_radix_key(a.base + (slice << RT_SLICE_SHIFT)), True) == NULL:
            return -1
        slice += SEGMENT_SLICES
    return 0


cdef inline int lookup_open_headers(char* p, uint32_t count) noexcept nogil:
    # Only the first slices of `count` segments; 0 on success.
    cdef uint32_t s
    for s in range(count):
        if rt_os_map_at(p + s * RT_SEGMENT_BYTES, RT_SLICE_BYTES):
            return -1
    return 0


cdef inline int lookup_open_flat(Arena* a, uint64_t first, uint64_t end) noexcept nogil:
    # The places of slices [first, end), in whole pages, for writing; 0 on success.
    cdef size_t low = <size_t>&a.tags[first] & ~(a.page_bytes - 1)
    cdef size_t high = (<size_t>&a.tags[end] + a.page_bytes - 1) & ~(a.page_bytes - 1)
    return rt_os_open(<void*>low, high - low)


cdef inline int lookup_reserve(Arena* a) noexcept nogil:
    # The flat map: foreign addresses read as "no tag"; the arena's part is opened like the table that it stands for. 0 on
    # success.
    a.flat = <uint32_t*>rt_os_reserve_zeros((<size_t>1 << (RT_ADDRESS_BITS - RT_SLICE_SHIFT)) * sizeof(uint32_t))
    if a.flat == NULL:
        return -1
    a.tags = a.flat + (<size_t>a.base >> RT_SLICE_SHIFT)
    return 0


cdef inline uint32_t* lookup_place(const Arena* a, uint64_t slice) noexcept nogil:
    # Where the tag of a slice in use stands.
    if RT_LOOKUP == RT_LOOKUP_HEADER:
        return <uint32_t*>(a.base + slice // SEGMENT_SLICES * RT_SEGMENT_BYTES) + slice % SEGMENT_SLICES
    if RT_LOOKUP == RT_LOOKUP_RADIX:
        return <uint32_t*>radix_place(<RadixMap*>&a.radix, lookup_radix_key(arena_address(a, slice)), False)
    return &a.tags[slice]


cdef inline bint lookup_find(const Arena* a, const void* p, uint32_t* tag) noexcept nogil:
    # The tag of any address; False, or *tag = 0, where it lies outside of the arena.
    cdef uint32_t* place
    if RT_LOOKUP == RT_LOOKUP_FLAT:
        if unlikely(<size_t>p >> RT_ADDRESS_BITS):
            return False
        tag[0] = rt_load_relaxed_u32(&a.flat[<size_t>p >> RT_SLICE_SHIFT])
        return True
    if RT_LOOKUP == RT_LOOKUP_RADIX:
        place = <uint32_t*>radix_place(<RadixMap*>&a.radix, lookup_radix_key(p), False)
        if unlikely(place == NULL):
            return False
    else:
        if unlikely(arena_slice_of(a, p) >= rt_load_relaxed_u64(&a.slice_count)):
            return False
        place = <uint32_t*>(<size_t>p & ~(RT_SEGMENT_BYTES - 1))
        place += (<size_t>p >> RT_SLICE_SHIFT) % SEGMENT_SLICES
    tag[0] = rt_load_relaxed_u32(place)
    return True
