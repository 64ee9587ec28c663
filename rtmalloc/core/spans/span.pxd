# A span: a run of slices cut into equal objects, whose free ones are bits.
#
#     bit i of the bitmap = 1   <=>   object i is free and in nobody's bin, cache or hand
#     objects = ones in the bitmap + objects that are live, in a bin, in a sender's cache, or claimed for a moment
#
# Every transfer is one atomic OR (objects come home) or one atomic AND (objects are claimed); a bit belongs to whoever
# cleared it. Whoever has cleared *all* bits of a span owns it alone. docs/protocol.md has the argument.
#
# The first cache line belongs to the owner (or to the class lock while nobody owns the span), with three exceptions:
# `index`, `class_`, `size`, `objects`, `fresh` and `quiet` are read by anybody, who then must hold an object or a claimed bit of the span for the
# answer to stay true; they are written by relaxed stores. The second line is for what others write.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_and_u64, rt_exchange_u64, rt_load_relaxed_u16, rt_load_relaxed_u64, rt_load_u64, rt_or_u64, rt_store_relaxed_u8,
    rt_store_relaxed_u16, rt_store_relaxed_u32, rt_store_relaxed_u64, rt_store_release_u64,
)
from rtmalloc.core.base.bitmap cimport mask_low, rt_count_bits

cdef extern from "base/config.h":
    enum:
        RT_SHARD
        RT_SLICE_BYTES
        RT_SLICE_SHIFT

cdef enum:
    RECIPROCAL_SHIFT = 40      # exact for offsets below 2**19 and sizes up to 2**15: the error stays below 2**34

cdef enum SpanState:
    SPAN_NONE = 0              # not a span
    SPAN_CURRENT = 1           # owned: its class is being refilled from it
    SPAN_PARTIAL = 2           # owned: in the owner's queue, has free objects
    SPAN_FULL = 3              # owned: had no free object when last looked at
    SPAN_LISTED = 4            # unowned: in the central store
    SPAN_UNLISTED = 5          # unowned: had no free object when it was abandoned

cdef struct Span:
    char* base                 # address of object 0
    uint64_t* bits             # the bitmap, `words` words
    uint64_t reciprocal        # ceil(2**40 / size)
    uint32_t size              # bytes of an object; of a large block: 0
    uint32_t index             # slice number of the span's first slice; interior slices' entries hold it too
    uint32_t slices            # length of the run (also of a large block)
    uint16_t objects           # in the whole span
    uint16_t words             # ceil(objects / 64)
    uint16_t fresh             # objects from here on were never handed out and are zero
    uint8_t class_             # size class
    uint8_t state              # SpanState
    uint8_t quiet              # purge passes since it was last drawn from (a hint, written without protection)
    uint8_t worth              # free objects in one word that make the span worth a refill's visit: an eighth of a word.
                               # With fewer it stays FULL (until the epoch's sweep): one object from each of many spans
                               # costs a refill more than the memory is worth
    uint8_t padding_a[2]
    Span* own_next             # all spans of the owner
    Span* own_previous
    # ---- second cache line
    uint8_t notified           # 1 = in, or about to be in, a mailbox; cleared only by who pops it
    uint8_t padding_b[7]
    Span* mailbox_next
    Span* child                # pairing heap: first child, next sibling, and parent or previous sibling
    Span* sibling
    Span* previous
    uint64_t returned          # bit u = unit u of the span was given back and none of it drawn since (page_return.pxd; atomic)
    void* records              # of a slab of the profile: what is known of its objects (profile.pxd)
    uint64_t rank              # place in the queue that it is in: the lowest comes first (span_queue.pxd)


cdef inline uint32_t span_unit_bytes(uint32_t span_bytes, size_t page_bytes) noexcept nogil:
    # What one bit of `returned` stands for: a page, or more where a span has over 64 pages.
    cdef uint32_t unit = <uint32_t>page_bytes
    while span_bytes > 64 * unit:
        unit *= 2
    return unit


cdef inline uint64_t reciprocal_of(uint32_t size) noexcept nogil:
    return ((<uint64_t>1 << RECIPROCAL_SHIFT) + size - 1) // size


cdef inline uint32_t span_object_at(const Span* s, uint32_t offset) noexcept nogil:
    # Number of the object that holds byte `offset` of the span.
    return <uint32_t>((offset * s.reciprocal) >> RECIPROCAL_SHIFT)


cdef inline uint64_t span_full_mask(const Span* s, uint32_t word) noexcept nogil:
    # The bits that word `word` of the bitmap has when all its objects are free.
    return mask_low(s.objects - word * 64)


cdef inline void span_form(Span* s, uint32_t slices, uint32_t size, uint8_t class_, bint zeroed) noexcept nogil:
    # Cut a run that is ours alone into objects of `size` bytes, all free. `index`, `base` and `bits` are set already.
    # The bits come last: from then on a page purger may claim some, and it must read the geometry that goes with them.
    cdef uint32_t objects = slices * RT_SLICE_BYTES // size
    cdef uint32_t w
    s.reciprocal = reciprocal_of(size)
    s.slices = slices
    s.words = <uint16_t>((objects + 63) // 64)
    rt_store_relaxed_u16(&s.fresh, 0 if zeroed else <uint16_t>objects)
    rt_store_relaxed_u8(&s.quiet, 0)
    s.worth = <uint8_t>((objects if objects < 64 else 64) >> 3)
    if s.worth == 0 or RT_SHARD == 0:
        s.worth = 1
    rt_store_relaxed_u32(&s.size, size)
    rt_store_relaxed_u16(&s.objects, <uint16_t>objects)
    rt_store_relaxed_u8(&s.class_, class_)
    rt_store_relaxed_u64(&s.returned, 0)
    for w in range(s.words):
        rt_store_release_u64(&s.bits[w], span_full_mask(s, w))


cdef inline bint span_is_worth_it(Span* s) noexcept nogil:
    # Whether some word has enough free objects for a visit. Sequentially consistent loads: pairs with the OR of span_put.
    cdef uint32_t w
    for w in range(s.words):
        if rt_count_bits(rt_load_u64(&s.bits[w])) >= s.worth:
            return True
    return False


cdef inline bint span_has_free(Span* s) noexcept nogil:
    # Whether some bit is set. Sequentially consistent loads: pairs with the OR of span_put.
    cdef uint32_t w
    for w in range(s.words):
        if rt_load_u64(&s.bits[w]):
            return True
    return False


cdef inline bint span_is_whole(Span* s) noexcept nogil:
    # Whether every object was free when it was looked at. Of two threads that each fill one word of a span at least one
    # must see both full, so these loads are sequentially consistent like the OR before them. Also asked by who holds nothing
    # of the span, which may be being formed anew at its place: what he reads must be atomic, the answer is then a guess.
    cdef uint32_t objects = rt_load_relaxed_u16(&s.objects)
    cdef uint64_t* bits = <uint64_t*><size_t>rt_load_relaxed_u64(<const uint64_t*>&s.bits)
    cdef uint32_t w
    for w in range((objects + 63) // 64):
        if rt_load_u64(&bits[w]) != mask_low(objects - w * 64):
            return False
    return True


cdef inline uint64_t span_claim(Span* s, uint32_t word, uint64_t wanted) noexcept nogil:
    # Claim objects: the bits of `wanted` that were set, now cleared and ours.
    return rt_and_u64(&s.bits[word], ~wanted) & wanted


cdef inline bint span_claim_all(Span* s) noexcept nogil:
    # Claim every object: True makes the span ours alone, with an all-zero bitmap. On False nothing is kept, but the
    # caller must look at the span again: an object may have come home while we held its siblings.
    cdef uint32_t w = 0
    cdef uint64_t got
    while w < s.words:
        got = rt_exchange_u64(&s.bits[w], 0)
        if got != span_full_mask(s, w):
            rt_or_u64(&s.bits[w], got)
            while w:
                w -= 1
                rt_or_u64(&s.bits[w], span_full_mask(s, w))
            return False
        w += 1
    return True
