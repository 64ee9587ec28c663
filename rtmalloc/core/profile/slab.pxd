# Slabs: where the objects lie that the profile follows.
# A slab is a span of one class under the profile's lock, with a record for each object beside it. Its tag is
# TAG_SAMPLED, so that whatever frees such an object comes by here.
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from rtmalloc.core.base.config cimport RT_SLICE_BYTES
from rtmalloc.core.base.platform cimport rt_os_map, rt_os_unmap
from rtmalloc.core.base.size_class cimport rt_class_size
from rtmalloc.core.pages.arena cimport arena_span_new
from rtmalloc.core.pages.page_heap cimport page_heap_give, page_heap_take
from rtmalloc.core.pages.summary cimport SLICE_NONE
from rtmalloc.core.pages.tag cimport TAG_SAMPLED, tag_set
from rtmalloc.core.spans.span cimport span_form
from rtmalloc.core.types cimport Allocator, ProfileRecord, Span

cdef enum:
    SLAB_OBJECTS = 4           # at least so many in a slab


cdef inline size_t slab_record_bytes(const Span* s) noexcept nogil:
    return s.objects * sizeof(ProfileRecord)


cdef inline Span* slab_new(Allocator* a, uint32_t class_) noexcept nogil:
    cdef uint32_t slices = 1
    cdef uint32_t slice
    cdef void* records
    cdef Span* s
    while slices * RT_SLICE_BYTES < SLAB_OBJECTS * rt_class_size[class_]:
        slices *= 2
    slice = page_heap_take(&a.arena.pages, slices)
    if slice == SLICE_NONE:
        return NULL
    records = rt_os_map(slices * RT_SLICE_BYTES // rt_class_size[class_] * sizeof(ProfileRecord))
    if records == NULL:
        page_heap_give(&a.arena.pages, slice, slices)
        return NULL
    s = arena_span_new(&a.arena, slice, slices)
    s.records = records
    span_form(s, slices, rt_class_size[class_], <uint8_t>class_, False)
    tag_set(&a.arena, slice, slices, TAG_SAMPLED)
    slab_list(a, s)
    return s


cdef inline void slab_release(Allocator* a, Span* s) noexcept nogil:
    # A whole slab leaves the list and goes back.
    cdef uint32_t slice = s.index
    cdef uint32_t slices = s.slices
    slab_unlist(a, s)
    rt_os_unmap(s.records, slab_record_bytes(s))
    memset(s.bits, 0, s.words * sizeof(uint64_t))
    tag_set(&a.arena, slice, slices, 0)
    page_heap_give(&a.arena.pages, slice, slices)


cdef inline void slab_unlist(Allocator* a, Span* s) noexcept nogil:
    if s.slab_previous != NULL:
        s.slab_previous.slab_next = s.slab_next
    else:
        a.profile.slabs[s.class_] = s.slab_next
    if s.slab_next != NULL:
        s.slab_next.slab_previous = s.slab_previous


cdef inline void slab_list(Allocator* a, Span* s) noexcept nogil:
    s.slab_previous = NULL
    s.slab_next = a.profile.slabs[s.class_]
    if s.slab_next != NULL:
        s.slab_next.slab_previous = s
    a.profile.slabs[s.class_] = s
