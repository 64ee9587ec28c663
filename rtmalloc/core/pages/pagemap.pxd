# Who owns an address, and what is there: one 4-byte tag per slice of the arena.
#
#     tag = owner << 11 | code        owner: heap id 1..65535, 0 = nobody
#     code = 0                        free slice, or inside a large block
#          = class * 16               small class: the byte offset of the class's bin, hence the factor
#          = TAG_LARGE                first slice of a large block
#          = TAG_SAMPLED              small objects that the profile follows, of any class (profile.pxd); nobody's
#
# All slices of a span carry the same tag. A read without a lock may be stale in the owner part only: the class cannot
# change while an object of the span is live. A thread may take a span for its own that was evicted from it a moment ago
# (remote.pxd); the object then goes into its bin, which may hold objects of any span of the class. That makes
# tag - own_tag_base < BIN_END  one test for "mine, small, which class".
#
# Where the tags are is a compile-time switch, for comparison: everything but the default is one of variants.toml.
#
#     RT_LOOKUP_TAG      a dense table, by the distance from the arena's base
#     RT_LOOKUP_HEADER   in the first slice of each segment, by the address's mask. No run reaches over a segment's border
#     RT_LOOKUP_FLAT     a table of all addresses that a process can have: 16 GiB of address space, no base
#     RT_LOOKUP_RADIX    three levels of nodes: three loads that wait for each other
from libc.stdint cimport uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.pages.arena cimport RT_SEGMENT_BYTES, Arena, arena_address, arena_radix_key, arena_slice_of
from rtmalloc.core.base.atomics cimport (
    rt_exchange_u32, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_load_u32, rt_store_relaxed_u32,
)
from rtmalloc.core.base.radix cimport RadixMap, radix_place
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES

cdef extern from "base/config.h":
    enum:
        RT_ADDRESS_BITS
        RT_LOOKUP
        RT_LOOKUP_FLAT
        RT_LOOKUP_HEADER
        RT_LOOKUP_RADIX
        RT_SLICE_SHIFT
        RT_STATE_TEST

cdef enum:
    TAG_OWNER_SHIFT = 11
    TAG_CODE_MASK = 2047
    TAG_LARGE = 2016            # 126 * 16
    TAG_SAMPLED = 2032          # 127 * 16
    BIN_BYTES = 16              # sizeof(Bin): the distance of two class codes
    BIN_END = 2016              # first code that is no small class


cdef inline uint32_t tag_make(uint32_t owner, uint32_t class_) noexcept nogil:
    return owner << TAG_OWNER_SHIFT | class_ * BIN_BYTES


cdef inline uint32_t tag_owner(uint32_t tag) noexcept nogil:
    return tag >> TAG_OWNER_SHIFT


cdef inline uint32_t tag_code(uint32_t tag) noexcept nogil:
    return tag & TAG_CODE_MASK


cdef inline uint32_t tag_class(uint32_t tag) noexcept nogil:
    return (tag & TAG_CODE_MASK) // BIN_BYTES


cdef inline uint32_t* tag_place(const Arena* a, uint64_t slice) noexcept nogil:
    # Where the tag of a slice in use stands.
    if RT_LOOKUP == RT_LOOKUP_HEADER:
        return <uint32_t*>(a.base + slice // SEGMENT_SLICES * RT_SEGMENT_BYTES) + slice % SEGMENT_SLICES
    if RT_LOOKUP == RT_LOOKUP_RADIX:
        return <uint32_t*>radix_place(<RadixMap*>&a.radix, arena_radix_key(arena_address(a, slice)), False)
    return &a.tags[slice]


cdef inline bint tag_find(const Arena* a, const void* p, uint32_t* tag) noexcept nogil:
    # The tag of any address; False where it lies outside of the arena, or in some variants *tag = 0
    # there (tag_is_outside).
    cdef uint64_t slice
    cdef uint32_t* place
    if RT_LOOKUP == RT_LOOKUP_FLAT:
        if unlikely(<size_t>p >> RT_ADDRESS_BITS):
            return False
        tag[0] = rt_load_relaxed_u32(&a.flat[<size_t>p >> RT_SLICE_SHIFT])
        return True
    if RT_LOOKUP == RT_LOOKUP_RADIX:
        place = <uint32_t*>radix_place(<RadixMap*>&a.radix, arena_radix_key(p), False)
        if unlikely(place == NULL):
            return False
        tag[0] = rt_load_relaxed_u32(place)
        return True
    slice = arena_slice_of(a, p)
    if unlikely(slice >= rt_load_relaxed_u64(&a.slice_count)):
        return False
    if RT_LOOKUP == RT_LOOKUP_HEADER:
        place = <uint32_t*>(<size_t>p & ~(RT_SEGMENT_BYTES - 1))
        tag[0] = rt_load_relaxed_u32(&place[(<size_t>p >> RT_SLICE_SHIFT) % SEGMENT_SLICES])
    else:
        tag[0] = rt_load_relaxed_u32(&a.tags[slice])
    return True


cdef inline bint tag_is_outside(const Arena* a, const void* p) noexcept nogil:
    # For the slow paths: whether an address that tag_find, or nobody, asked about lies outside of the arena after all.
    if RT_LOOKUP == RT_LOOKUP_FLAT or RT_LOOKUP == RT_LOOKUP_RADIX or RT_STATE_TEST:
        return arena_slice_of(a, p) >= rt_load_relaxed_u64(&a.slice_count)
    return False


cdef inline bint tag_find_inside(const Arena* a, const void* p, uint32_t* tag) noexcept nogil:
    # The tag of any address; False where it lies outside of the arena, in every variant.
    return tag_find(a, p, tag) and not tag_is_outside(a, p)


cdef inline uint32_t tag_of_slice(const Arena* a, uint64_t slice) noexcept nogil:
    return rt_load_relaxed_u32(tag_place(a, slice))


cdef inline uint32_t tag_now(const Arena* a, uint64_t slice) noexcept nogil:
    # The tag, ordered after whatever this thread wrote before: to find out who is to be told of a free.
    return rt_load_u32(tag_place(a, slice))


cdef inline void tag_set(Arena* a, uint32_t slice, uint32_t slices, uint32_t tag) noexcept nogil:
    # The first slice's tag is the one that decides whose a span is, so it changes last and sequentially consistent: whoever
    # frees afterwards sees the new owner, and what was freed before is seen by who looks at the bitmap afterwards.
    cdef uint32_t i
    for i in range(1, slices):
        rt_store_relaxed_u32(tag_place(a, slice + i), tag)
    rt_exchange_u32(tag_place(a, slice), tag)
