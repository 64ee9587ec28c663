# Whose an address is, and what is there: one 4-byte tag per slice of the arena.
#
#     tag = (slot + 1) << 11 | code    of the spans of small classes; without a slot for all else
#     code = 0                         free slice, or inside a large block
#          = class * 16                small class: the byte offset of the class's bin, hence the factor
#          = TAG_LARGE                 first slice of a large block
#          = TAG_SAMPLED               small objects that the profile follows, of any class
#
# All slices of a span carry the same tag. A read without a lock may be stale in the slot's part only: the class cannot
# change while an object of the span is live. An object of a span that another slot has just taken may so end in a bin of
# the wrong slot, which does no harm: a bin may hold objects of any span of its class. That makes
# tag - own_tag_base < BIN_END  one test for "of my slot, small, which class".
#
# The tags are a dense table, by the distance from the arena's base. alternatives/lookup.pxd has three other ways.
from libc.stdint cimport uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.alternatives.lookup cimport lookup_find, lookup_place
from rtmalloc.core.base.atomics cimport (
    rt_exchange_u32, rt_load_operand_u64, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_load_u32, rt_store_release_u32,
)
from rtmalloc.core.base.config cimport RT_LOOKUP, RT_LOOKUP_FLAT, RT_LOOKUP_RADIX, RT_LOOKUP_TAG
from rtmalloc.core.base.size_class cimport rt_class_count
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.types cimport Arena

cdef enum:
    TAG_OWNER_SHIFT = 11
    TAG_CODE_MASK = 2047
    TAG_LARGE = 2016            # 126 * 16
    TAG_SAMPLED = 2032          # 127 * 16
    BIN_BYTES = 16              # sizeof(Bin): the distance of two class codes
    BIN_END = 2016              # first code that is no small class


cdef inline uint32_t tag_code(uint32_t tag) noexcept nogil:
    return tag & TAG_CODE_MASK


cdef inline uint32_t tag_class(uint32_t tag) noexcept nogil:
    # The small class, or a number that is not below rt_class_count, or 0.
    return (tag & TAG_CODE_MASK) // BIN_BYTES


cdef inline uint32_t tag_of_class(uint32_t tag_base, uint32_t class_) noexcept nogil:
    # The tag of the spans of a class and a slot.
    return tag_base | class_ * BIN_BYTES


cdef inline bint tag_is_small(uint32_t tag) noexcept nogil:
    # Whether the slice belongs to a span of a small class.
    return 0 < tag_class(tag) < rt_class_count


cdef inline uint32_t* tag_place(const Arena* a, uint64_t slice) noexcept nogil:
    # Where the tag of a slice in use stands.
    return lookup_place(a, slice) if RT_LOOKUP != RT_LOOKUP_TAG else &a.tags[slice]


cdef inline bint tag_find(const Arena* a, const void* p, uint32_t* tag) noexcept nogil:
    # The tag of any address; False where it lies outside of the arena (or, with another look-up, perhaps *tag = 0 there:
    # tag_is_outside).
    cdef uint64_t slice
    if RT_LOOKUP != RT_LOOKUP_TAG:
        return lookup_find(a, p, tag)
    slice = arena_slice_of(a, p)
    if unlikely(slice >= rt_load_operand_u64(&a.slice_count)):
        return False
    tag[0] = rt_load_relaxed_u32(&a.tags[slice])
    return True


cdef inline bint tag_is_outside(const Arena* a, const void* p) noexcept nogil:
    # For the slow paths: whether an address that tag_find, or nothing, was asked about lies outside of the arena after all.
    if RT_LOOKUP == RT_LOOKUP_FLAT or RT_LOOKUP == RT_LOOKUP_RADIX:
        return arena_slice_of(a, p) >= rt_load_relaxed_u64(&a.slice_count)
    return False


cdef inline bint tag_find_inside(const Arena* a, const void* p, uint32_t* tag) noexcept nogil:
    # The tag of any address; False where it lies outside of the arena, with every look-up.
    return tag_find(a, p, tag) and not tag_is_outside(a, p)


cdef inline uint32_t tag_of_slice(const Arena* a, uint64_t slice) noexcept nogil:
    return rt_load_relaxed_u32(tag_place(a, slice))


cdef inline uint32_t tag_now(const Arena* a, uint64_t slice) noexcept nogil:
    # The tag, ordered after whatever this thread wrote before: to find out which shelf is to hear of a free.
    return rt_load_u32(tag_place(a, slice))


cdef inline void tag_set(Arena* a, uint32_t slice, uint32_t slices, uint32_t tag) noexcept nogil:
    # The first slice's tag is the one that decides whose a span is, so it changes last and sequentially consistent: a free
    # afterwards sees the new slot, and what was freed before is seen by a look at the bitmap afterwards.
    cdef uint32_t i
    for i in range(1, slices):
        rt_store_release_u32(tag_place(a, slice + i), tag)
    rt_exchange_u32(tag_place(a, slice), tag)
