# Objects come home. Whoever frees, to whichever span, ORs a mask of up to 64 objects into one word of its bitmap; only
# the OR that may have made the span usable again, or whole, tells somebody.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.arena cimport Arena, arena_address, arena_slice_of
from rtmalloc.core.atomics cimport rt_load_relaxed_u32, rt_or_u64
from rtmalloc.core.attributes cimport cold_void, slow_int
from rtmalloc.core.bitmap cimport rt_lowest_bit
from rtmalloc.core.complain cimport complain_of_pointer
from rtmalloc.core.mailbox cimport mailbox_of, mailbox_push
from rtmalloc.core.pagemap cimport tag_class, tag_make, tag_of_slice, tag_owner
from rtmalloc.core.span cimport Span, span_full_mask, span_object_at
from rtmalloc.core.store cimport Store, central_event, span_slice

cdef enum PutEvent:
    PUT_DONE = 0               # nothing left to do
    PUT_MINE = 1               # the span is the caller's own and has become usable or whole: look at it

cdef enum:
    REMOTE_SLOTS = 16          # spans (words of them) that a sender batches at a time

cdef struct Batch:
    # Objects on their way home: some of the 64 of one word of one span.
    Span* span                 # NULL = empty
    uint64_t mask
    uint32_t word
    uint32_t class_            # of the span, known while we hold objects of it


cdef inline Span* span_of(const Arena* a, uint64_t slice) noexcept nogil:
    # The span that holds an allocated slice.
    return &a.spans[rt_load_relaxed_u32(&a.spans[slice].index)]


cdef inline Span* object_locate(const Arena* a, const void* p, uint32_t* object_) noexcept nogil:
    # The span of a small object and the object's number; NULL when `p` is not the start of an object.
    cdef Span* s = span_of(a, arena_slice_of(a, p))
    cdef uint32_t offset = <uint32_t>(<size_t>p - <size_t>s.base)
    object_[0] = span_object_at(s, offset)
    if object_[0] * s.size != offset or object_[0] >= s.objects:
        return NULL
    return s


cdef inline cold_void complain_of_double_free(const Span* s, uint32_t word, uint64_t twice) noexcept nogil:
    complain_of_pointer(b"free", s.base + <size_t>(word * 64 + rt_lowest_bit(twice)) * s.size, b"double free")


cdef inline slow_int span_event(Store* store, uint32_t self_id, Span* s, uint32_t class_) noexcept nogil:
    # Find who looks after a span that has become usable or whole, and tell them; PUT_MINE when it is the caller.
    # We hold nothing of the span any more, so it may be gone or be another one: whoever is told looks for himself.
    cdef uint32_t tag
    cdef uint32_t owner
    while True:
        tag = tag_of_slice(&store.arena, span_slice(store, s))
        owner = tag_owner(tag)
        if owner:
            if owner == self_id:
                return PUT_MINE
            if mailbox_push(mailbox_of(&store.arena, owner), s):
                return PUT_DONE
            # Closed: its heap has just given up all its spans, so the tag has changed.
        else:
            if tag != tag_make(0, class_):
                return PUT_DONE
            if central_event(store, s, class_):
                return PUT_DONE


cdef inline int span_put(Store* store, uint32_t self_id, const Batch* batch) noexcept nogil:
    # Return a batch to its span; `self_id` is the caller's heap, 0 for none.
    cdef Span* s = batch.span
    # Read before the OR: until then we hold an object, and the span is what we think it is.
    cdef uint64_t full = span_full_mask(s, batch.word)
    cdef uint64_t before = rt_or_u64(&s.bits[batch.word], batch.mask)
    if before & batch.mask:
        complain_of_double_free(s, batch.word, before & batch.mask)
    if before == 0 or (before | batch.mask) == full:
        return span_event(store, self_id, s, batch.class_)
    return PUT_DONE
