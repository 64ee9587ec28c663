# The arena: one range of addresses for everything but giants; address arithmetic, a span's entry.
#
# All metadata lies in dense tables outside of the memory that programs write to: an entry per slice.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_store_relaxed_u32, rt_store_relaxed_u64
from rtmalloc.core.base.config cimport RT_SLICE_BYTES, RT_SLICE_SHIFT, RT_SLICE_WORDS
from rtmalloc.core.types cimport Arena, Span


cdef inline uint64_t arena_slice_of(const Arena* a, const void* p) noexcept nogil:
    # Number of the slice of `p`; not below slice_count when `p` lies outside of what is in use.
    return (<size_t>p - <size_t>a.base) >> RT_SLICE_SHIFT


cdef inline char* arena_address(const Arena* a, uint64_t slice) noexcept nogil:
    return a.base + (slice << RT_SLICE_SHIFT)


cdef inline uint32_t arena_page_slices(const Arena* a) noexcept nogil:
    # Slices that a page of the kernel has, at least 1. (The arena begins with a page.)
    return <uint32_t>(a.page_bytes >> RT_SLICE_SHIFT) if a.page_bytes > RT_SLICE_BYTES else 1


cdef inline uint64_t* arena_bits(const Arena* a, uint64_t slice) noexcept nogil:
    # The bitmap of a span that begins at `slice`.
    return &a.bits[slice * RT_SLICE_WORDS]


cdef inline Span* arena_span_new(Arena* a, uint32_t slice, uint32_t slices) noexcept nogil:
    # The span entry of a run that is ours: its place is filled in, and interior entries point to the first.
    cdef Span* s = &a.spans[slice]
    cdef uint32_t i
    s.base = arena_address(a, slice)
    # (Always the same for a slice; span_is_whole may read it at any time.)
    rt_store_relaxed_u64(<uint64_t*>&s.bits, <uint64_t><size_t>arena_bits(a, slice))
    s.slices = slices
    for i in range(slices):
        rt_store_relaxed_u32(&a.spans[slice + i].index, slice)
    return s
