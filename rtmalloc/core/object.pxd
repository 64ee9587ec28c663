# From an address to the object: which span, which of its bits.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.arena cimport Arena, arena_slice_of
from rtmalloc.core.atomics cimport rt_load_relaxed_u32
from rtmalloc.core.attributes cimport cold_void
from rtmalloc.core.bitmap cimport rt_lowest_bit
from rtmalloc.core.complain cimport complain_of_pointer
from rtmalloc.core.span cimport Span, span_object_at

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


cdef inline void batch_begin(Batch* batch, Span* s, uint32_t object_, uint32_t class_) noexcept nogil:
    batch.span = s
    batch.word = object_ >> 6
    batch.mask = <uint64_t>1 << (object_ & 63)
    batch.class_ = class_


cdef inline bint batch_add(Batch* batch, Span* s, uint32_t object_) noexcept nogil:
    # Add an object if it belongs to the batch's word; whether it did.
    cdef uint64_t bit = <uint64_t>1 << (object_ & 63)
    if batch.span != s or batch.word != object_ >> 6:
        return False
    if batch.mask & bit:
        complain_of_double_free(s, batch.word, bit)
    batch.mask |= bit
    return True
