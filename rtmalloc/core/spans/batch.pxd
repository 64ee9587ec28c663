# A batch: objects on their way home, some of the 64 of one word of one span. It knows the range of addresses that belongs to
# it, so that freeing neighbours needs neither the tag nor the span.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.bitmap cimport rt_lowest_bit
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.spans.span cimport RECIPROCAL_SHIFT
from rtmalloc.core.types cimport Batch, Span


cdef inline cold_void batch_complain_twice(const Span* s, uint32_t word, uint64_t twice) noexcept nogil:
    complain_of_pointer(b"free", s.base + <size_t>(word * 64 + rt_lowest_bit(twice)) * s.size, b"double free")


cdef inline void batch_begin(Batch* batch, Span* s, uint32_t object_, uint32_t class_) noexcept nogil:
    # An empty batch gets its first object.
    cdef uint32_t first = object_ & ~<uint32_t>63
    cdef uint32_t objects = s.objects - first
    batch.span = s
    batch.mask = <uint64_t>1 << (object_ & 63)
    batch.low = s.base + <size_t>first * s.size
    # Not beyond the span's last object: what follows may be another span.
    batch.bytes = (objects if objects < 64 else 64) * s.size
    batch.size = s.size
    batch.reciprocal = s.reciprocal
    batch.word = object_ >> 6
    batch.class_ = class_


cdef inline void batch_clear(Batch* batch) noexcept nogil:
    batch.span = NULL
    batch.bytes = 0


cdef inline bint batch_takes(Batch* batch, const void* p) noexcept nogil:
    # Add the object at `p` if it belongs to the batch's word; whether it does.
    cdef size_t offset = <size_t>p - <size_t>batch.low
    cdef uint32_t i
    cdef uint64_t bit
    if offset >= batch.bytes:
        return False
    i = <uint32_t>((offset * batch.reciprocal) >> RECIPROCAL_SHIFT)
    if i * batch.size != offset:
        complain_of_pointer(b"free", p, b"not the start of a block")
    bit = <uint64_t>1 << i
    if batch.mask & bit:
        complain_of_pointer(b"free", p, b"double free")
    batch.mask |= bit
    return True
