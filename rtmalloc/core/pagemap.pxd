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
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.arena cimport Arena
from rtmalloc.core.atomics cimport rt_exchange_u32, rt_load_relaxed_u32, rt_load_u32, rt_store_relaxed_u32

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


cdef inline uint32_t tag_of_slice(const Arena* a, uint64_t slice) noexcept nogil:
    return rt_load_relaxed_u32(&a.tags[slice])


cdef inline uint32_t tag_now(const Arena* a, uint64_t slice) noexcept nogil:
    # The tag, ordered after whatever this thread wrote before: to find out who is to be told of a free.
    return rt_load_u32(&a.tags[slice])


cdef inline void tag_set(Arena* a, uint32_t slice, uint32_t slices, uint32_t tag) noexcept nogil:
    # The first slice's tag is the one that decides whose a span is, so it changes last and sequentially consistent: whoever
    # frees afterwards sees the new owner, and what was freed before is seen by who looks at the bitmap afterwards.
    cdef uint32_t i
    for i in range(1, slices):
        rt_store_relaxed_u32(&a.tags[slice + i], tag)
    rt_exchange_u32(&a.tags[slice], tag)
