# How a span comes into being, from slices of the transfer cache or the page heap, and goes back.
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from rtmalloc.core.base._options cimport RT_OPTION_transfer_kib
from rtmalloc.core.base.atomics cimport rt_add_u64, rt_load_relaxed_u64
from rtmalloc.core.base.attributes cimport slow_pointer
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.base.config cimport RT_SLICE_BYTES, RT_SLICE_SHIFT
from rtmalloc.core.base.size_class cimport rt_class_size, rt_class_slices
from rtmalloc.core.pages.arena cimport arena_span_new
from rtmalloc.core.pages.limit cimport limit_refuses
from rtmalloc.core.pages.page_heap cimport page_heap_dirty_in, page_heap_give, page_heap_is_marked, page_heap_take
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.summary cimport SLICE_NONE
from rtmalloc.core.pages.tag cimport tag_of_class, tag_set
from rtmalloc.core.spans.span cimport SPAN_HELD, SPAN_NONE, span_form, span_set_state, span_slice, span_unit_bytes
from rtmalloc.core.spans.transfer_cache cimport transfer_give, transfer_take
from rtmalloc.core.types cimport Allocator, Slot, Span


cdef inline uint32_t formation_slices(Allocator* a, uint32_t slices, bint* zeroed) noexcept nogil:
    # A run for a span of `slices` slices, and whether it is known to be zero; SLICE_NONE when the arena is full.
    cdef uint32_t slice = transfer_take(&a.transfer, slices)
    zeroed[0] = False
    if slice == SLICE_NONE:
        slice = page_heap_take(&a.arena.pages, slices)
        # A run that crosses into the next segment is not looked at: it counts as used before.
        if slice != SLICE_NONE and slice % SEGMENT_SLICES + slices <= SEGMENT_SLICES:
            zeroed[0] = page_heap_dirty_in(&a.arena.pages, slice, slices) == 0
    return slice


cdef inline slow_pointer formation_new(Allocator* a, Slot* slot, uint32_t class_) noexcept nogil:
    # A new span of a class for a slot, HELD by the caller; NULL when the arena is full. Called without a lock: it may make a
    # system call.
    cdef uint32_t slices = rt_class_slices[class_]
    cdef bint zeroed
    cdef uint32_t slice
    cdef Span* s
    if limit_refuses(a, <uint64_t>slices * RT_SLICE_BYTES):
        return NULL
    slice = formation_slices(a, slices, &zeroed)
    if slice == SLICE_NONE:
        return NULL
    s = arena_span_new(&a.arena, slice, slices)
    span_set_state(s, SPAN_HELD)
    # The tag before the bits: a page purger that claims one of them, and puts it back, must find the shelf.
    tag_set(&a.arena, slice, slices, tag_of_class(slot.tag_base, class_))
    span_form(s, slices, rt_class_size[class_], <uint8_t>class_, zeroed)
    rt_add_u64(&a.spans_formed, 1)
    rt_add_u64(&a.background.inside, <uint64_t>slices * RT_SLICE_BYTES)
    return s


cdef inline void formation_release(Allocator* a, Span* s) noexcept nogil:
    # Take back a span whose objects we have all claimed, and that its shelf has no more.
    cdef uint32_t slice = span_slice(a, s)
    cdef uint32_t slices = s.slices
    cdef uint64_t returned = rt_load_relaxed_u64(&s.returned)
    cdef uint32_t room = <uint32_t>(a.options.value[RT_OPTION_transfer_kib] * 1024 // (slices * RT_SLICE_BYTES))
    if returned:
        rt_add_u64(&a.limit.ended, rt_count_bits(returned) * span_unit_bytes(slices << RT_SLICE_SHIFT, a.arena.page_bytes))
    span_set_state(s, SPAN_NONE)
    tag_set(&a.arena, slice, slices, 0)
    rt_add_u64(&a.spans_released, 1)
    rt_add_u64(&a.background.inside, -(<uint64_t>slices * RT_SLICE_BYTES))
    if page_heap_is_marked(&a.arena.pages, slice, slices) or not transfer_give(&a.transfer, slice, slices, room):
        page_heap_give(&a.arena.pages, slice, slices)
