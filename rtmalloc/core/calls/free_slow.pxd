# What free's fast path misses into: a full bin, another slot's object, a large block, no block at all.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.base.size_class cimport rt_class_size
from rtmalloc.core.calls.giant cimport giant_give
from rtmalloc.core.calls.large cimport large_give
from rtmalloc.core.calls.tick cimport LARGE_BEATS, REFILL_BEATS, tick, tick_beats
from rtmalloc.core.heaps.beat cimport BEAT_MOST, beat_begin
from rtmalloc.core.heaps.bin cimport bin_overflow
from rtmalloc.core.heaps.home cimport home_free
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.heaps.sample cimport sample_enter, sample_freed
from rtmalloc.core.heaps.thread cimport heap_is_real, thread_heap, thread_heap_open
from rtmalloc.core.pages.arena cimport arena_address, arena_slice_of
from rtmalloc.core.pages.tag cimport (
    BIN_BYTES, TAG_LARGE, TAG_SAMPLED, tag_class, tag_code, tag_is_outside, tag_of_slice,
)
from rtmalloc.core.profile.heap_profile cimport heap_profile_forget
from rtmalloc.core.profile.profile cimport profile_give
from rtmalloc.core.spans.object cimport object_locate
from rtmalloc.core.spans.shelf cimport shelf_put
from rtmalloc.core.types cimport Allocator, Heap, Span

cdef enum:
    FREE_SMALL = -1            # free_special's "a small object, not freed yet"


cdef inline slow_void free_beat(void* p, size_t at) noexcept nogil:
    # The heartbeat: the object is put away, then comes the tick, or another stretch until it. `at` is the bin's offset.
    cdef Heap* h = thread_heap()
    sample_freed(h, <uint32_t>(at // BIN_BYTES), p)
    if h.beat_rest > 0:
        beat_begin(h, h.beat_rest)
    else:
        tick(h)


cdef inline slow_void free_overflowing(Heap* h, void* p, uint32_t class_) noexcept nogil:
    # The bin has no room: its older half goes home.
    bin_overflow(h, class_)
    sample_enter(h, class_, p)
    tick_beats(h, 1)


cdef inline slow_void free_full(void* p, size_t at) noexcept nogil:
    # The bin has no room, or no cells at all: then the object goes home.
    cdef Heap* h = thread_heap()
    cdef uint32_t class_ = <uint32_t>(at // BIN_BYTES)
    if h.sources[class_].capacity:
        free_overflowing(h, p, class_)
        return
    home_free(h, p, rt_class_size[class_])
    tick_beats(h, 1)


cdef inline slow_void free_alone(void* p) noexcept nogil:
    # Without any heap: one object, straight to its span.
    cdef Allocator* a = allocator()
    cdef uint32_t object_ = 0
    cdef Span* s = object_locate(&a.arena, p, &object_)
    if s == NULL:
        complain_of_pointer(b"free", p, b"not the start of a block")
    shelf_put(a, s, object_ >> 6, <uint64_t>1 << (object_ & 63))


cdef inline slow_void free_outside(void* p) noexcept nogil:
    # Not in the arena: NULL, a giant, or not ours. Before start-up everything is outside.
    heap_profile_forget(allocator(), p)
    if p == NULL or giant_give(allocator(), p):
        return
    complain_of_pointer(b"free", p, b"not a block of this allocator")


cdef inline slow_void free_sampled(void* p) noexcept nogil:
    # A small object that the profile follows.
    cdef int wrong = profile_give(allocator(), p)
    if wrong == 1:
        complain_of_pointer(b"free", p, b"not the start of a block")
    if wrong:
        complain_of_pointer(b"free", p, b"double free")


cdef inline int32_t free_special(void* p, uint32_t* tag) noexcept nogil:
    # What is no small object of a span: it goes back, or is complained of. Returns the beats that this counts for, or
    # FREE_SMALL with the tag of a small object, which is still there.
    cdef Allocator* a = allocator()
    cdef uint64_t slice = arena_slice_of(&a.arena, p)
    cdef uint32_t slices
    if tag_is_outside(&a.arena, p):
        free_outside(p)
        return 0
    tag[0] = tag_of_slice(&a.arena, slice)
    if tag_code(tag[0]) == TAG_LARGE:
        slices = a.arena.spans[slice].slices
        heap_profile_forget(a, p)
        if arena_address(&a.arena, slice) != p or not large_give(a, <uint32_t>slice):
            complain_of_pointer(b"free", p, b"inside a large block, not its start")
        return REFILL_BEATS + <int32_t>(slices if slices < LARGE_BEATS * BEAT_MOST else LARGE_BEATS * BEAT_MOST) // LARGE_BEATS
    if tag_code(tag[0]) == TAG_SAMPLED:
        free_sampled(p)
        return 0
    if tag_code(tag[0]) == 0:
        complain_of_pointer(b"free", p, b"no block is allocated there (freed before?)")
    return FREE_SMALL


cdef inline slow_void free_other(void* p) noexcept nogil:
    # In the arena, but not a small object of the heap's slot: a large block, or an object of another slot.
    cdef uint32_t tag = 0
    cdef int32_t beats = free_special(p, &tag)
    cdef Heap* h = thread_heap()
    if beats != FREE_SMALL:
        if beats and not heap_is_real(h):
            h = <Heap*>thread_heap_open()
        if beats and h != NULL:
            tick_beats(h, beats)
        return
    if unlikely(not heap_is_real(h)):
        # A thread that only frees gets a heap too, to send home in company, and for its heartbeat.
        h = <Heap*>thread_heap_open()
        if h == NULL:
            free_alone(p)
            return
    home_free(h, p, rt_class_size[tag_class(tag)])
    tick_beats(h, 1)
