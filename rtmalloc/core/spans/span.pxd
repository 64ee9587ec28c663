# A span: a run of slices cut into equal objects, whose free ones are bits.
# types.pxd has the fields and their equations.
#
# Every transfer is one atomic OR (objects come home) or one atomic AND (objects are claimed); a bit belongs to whatever
# thread cleared it. A thread that has cleared *all* bits of a span owns it alone. docs/protocol.md has the argument.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t, uint8_t

from rtmalloc.core.base.atomics cimport (
    rt_and_u64, rt_exchange_u64, rt_load_relaxed_u16, rt_load_relaxed_u64, rt_load_u64, rt_load_u8, rt_or_u64,
    rt_store_relaxed_u16, rt_store_relaxed_u32, rt_store_relaxed_u64, rt_store_relaxed_u8, rt_store_release_u64,
    rt_store_u8,
)
from rtmalloc.core.base.bitmap cimport mask_low, rt_count_bits
from rtmalloc.core.base.config cimport RT_SLICE_BYTES
from rtmalloc.core.base.size_class cimport rt_class_size, rt_class_slices
from rtmalloc.core.types cimport Allocator, Span

cdef enum:
    RECIPROCAL_SHIFT = 40      # exact for offsets below 2**19 and sizes up to 2**15: the error stays below 2**34

cdef enum:                     # states of a span
    SPAN_NONE = 0              # not a span of a small class
    SPAN_CURRENT = 1           # its shelf is being refilled from it
    SPAN_PARTIAL = 2           # in the shelf's queue, has free objects
    SPAN_FULL = 3              # had no free object, or few, when last looked at
    SPAN_HELD = 4              # in the hands of one thread that forms it or moves it to another slot


cdef inline uint32_t span_slice(const Allocator* a, const Span* s) noexcept nogil:
    # The slice whose entry `s` is: true of any entry, whatever became of the span.
    return <uint32_t>(s - a.arena.spans)


cdef inline uint32_t span_unit_bytes(uint32_t span_bytes, size_t page_bytes) noexcept nogil:
    # What one bit of `returned` stands for: a page, or more where a span has over 64 pages.
    cdef uint32_t unit = <uint32_t>page_bytes
    while span_bytes > 64 * unit:
        unit *= 2
    return unit


cdef inline uint32_t span_lead(const char* base, size_t page_bytes) noexcept nogil:
    # Bytes between the start of the page that a span begins in and the span. Units are counted from the former.
    return <uint32_t>(<size_t>base & (page_bytes - 1))


cdef inline uint64_t span_reciprocal(uint32_t size) noexcept nogil:
    return ((<uint64_t>1 << RECIPROCAL_SHIFT) + size - 1) // size


cdef inline uint32_t span_object_at(const Span* s, uint32_t offset) noexcept nogil:
    # Number of the object that holds byte `offset` of the span.
    return <uint32_t>((offset * s.reciprocal) >> RECIPROCAL_SHIFT)


cdef inline uint32_t span_word_objects(const Span* s, uint32_t word) noexcept nogil:
    # How many objects a word of the bitmap stands for: 64, less in the last one, none behind it.
    cdef int32_t left = <int32_t>s.objects - <int32_t>(word * 64)
    return 64 if left > 64 else <uint32_t>left if left > 0 else 0


cdef inline uint64_t span_full_mask(const Span* s, uint32_t word) noexcept nogil:
    # The bits that word `word` of the bitmap has when all its objects are free.
    return mask_low(s.objects - word * 64)


cdef inline void span_form(Span* s, uint32_t slices, uint32_t size, uint8_t class_, bint zeroed) noexcept nogil:
    # Cut a run that is ours alone into objects of `size` bytes, all free. `index`, `base` and `bits` are set already. The
    # bits come last: from then on a page purger may claim some, and it must read the geometry that goes with them.
    cdef uint32_t objects = slices * RT_SLICE_BYTES // size
    cdef uint32_t w
    s.reciprocal = span_reciprocal(size)
    s.slices = slices
    s.words = <uint16_t>((objects + 63) // 64)
    rt_store_relaxed_u16(&s.fresh, 0 if zeroed else <uint16_t>objects)
    rt_store_relaxed_u8(&s.quiet, 0)
    s.worth = <uint8_t>((objects if objects < 64 else 64) >> 3)
    if s.worth == 0:
        s.worth = 1
    rt_store_relaxed_u32(&s.size, size)
    rt_store_relaxed_u16(&s.objects, <uint16_t>objects)
    rt_store_relaxed_u8(&s.class_, class_)
    rt_store_relaxed_u64(&s.returned, 0)
    for w in range(s.words):
        rt_store_release_u64(&s.bits[w], span_full_mask(s, w))


cdef inline bint span_is_complete(const Span* s, uint32_t class_) noexcept nogil:
    # Whether a span that another thread was forming when a fork stopped it has all that spans of the class have.
    return s.class_ == class_ and s.size == rt_class_size[class_] and s.slices == rt_class_slices[class_]


cdef inline bint span_is_worth_it(Span* s) noexcept nogil:
    # Whether some word has enough free objects for a visit. Sequentially consistent loads: pairs with the OR of span_put.
    cdef uint32_t w
    for w in range(s.words):
        if rt_count_bits(rt_load_u64(&s.bits[w])) >= s.worth:
            return True
    return False


cdef inline uint8_t span_state(Span* s) noexcept nogil:
    # The state, ordered after what this thread has freed into the span. Pairs with span_set_state.
    return rt_load_u8(&s.state)


cdef inline void span_set_state(Span* s, uint8_t state) noexcept nogil:
    # Sequentially consistent, under the shelf's lock: a free that still sees the state before it has its bits seen by the
    # look that follows.
    rt_store_u8(&s.state, state)


cdef inline bint span_has_free(Span* s) noexcept nogil:
    # Whether some bit is set. Sequentially consistent loads: pairs with the OR of span_put.
    cdef uint32_t w
    for w in range(s.words):
        if rt_load_u64(&s.bits[w]):
            return True
    return False


cdef inline bint span_is_whole(Span* s) noexcept nogil:
    # Whether every object was free when it was looked at. Of two threads that each fill one word of a span at least one
    # must see both full, so these loads are sequentially consistent like the OR before them. Also asked by threads that hold
    # nothing of the span, which may be being formed anew at its place: hence atomic reads, and the answer is then a guess.
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
