# From an address to the object: which span, which of its bits.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.bitmap cimport rt_lowest_bit
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.spans.span cimport span_object_at
from rtmalloc.core.types cimport Arena, Span


cdef inline Span* object_span(const Arena* a, uint64_t slice) noexcept nogil:
    # The span that holds an allocated slice.
    return &a.spans[rt_load_relaxed_u32(&a.spans[slice].index)]


cdef inline Span* object_span_of(const Arena* a, const void* p) noexcept nogil:
    # The span that an address of the arena lies in.
    return object_span(a, arena_slice_of(a, p))


cdef inline Span* object_locate(const Arena* a, const void* p, uint32_t* object_) noexcept nogil:
    # The span of a small object and the object's number; NULL when `p` is not the start of an object.
    cdef Span* s = object_span_of(a, p)
    cdef uint32_t offset = <uint32_t>(<size_t>p - <size_t>s.base)
    object_[0] = span_object_at(s, offset)
    if object_[0] * s.size != offset or object_[0] >= s.objects:
        return NULL
    return s


cdef inline cold_void object_complain_twice(const Span* s, uint32_t word, uint64_t twice) noexcept nogil:
    # Objects of one word have been freed that were free already.
    complain_of_pointer(b"free", s.base + <size_t>(word * 64 + rt_lowest_bit(twice)) * s.size, b"double free")
