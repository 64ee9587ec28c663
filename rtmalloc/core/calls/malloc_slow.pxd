# What malloc's fast path misses into: an empty bin, a thread without a heap, a large block.
from libc.stdint cimport int32_t, uint32_t

from cython cimport unlikely

from rtmalloc.core.alternatives.cpu_heap cimport cpu_heaps_flush
from rtmalloc.core.alternatives.cpu_tick cimport cpu_beats
from rtmalloc.core.alternatives.percpu cimport RT_PERCPU_BUILT, percpu_serves
from rtmalloc.core.base.attributes cimport cold_pointer, cold_void, slow_pointer
from rtmalloc.core.base.bitmap cimport rt_lowest_bit
from rtmalloc.core.base.platform cimport ENOMEM, rt_set_errno
from rtmalloc.core.base.size_class cimport class_of_size, rt_class_largest
from rtmalloc.core.calls.giant cimport giant_take
from rtmalloc.core.calls.large cimport RT_LARGE_MOST, large_take, large_zero
from rtmalloc.core.calls.tick cimport REFILL_BEATS, tick_beats
from rtmalloc.core.giveback.limiter cimport limiter_before
from rtmalloc.core.giveback.pressure cimport pressure_flush, pressure_refused
from rtmalloc.core.heaps.bin cimport bin_floor
from rtmalloc.core.heaps.instance cimport allocator, allocator_open
from rtmalloc.core.heaps.refill cimport refill_bin
from rtmalloc.core.heaps.sample cimport sample_take_fence
from rtmalloc.core.heaps.thread cimport heap_is_real, thread_heap, thread_heap_open, thread_heap_or_null
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.pages.limit cimport limit_refuses
from rtmalloc.core.profile.heap_profile cimport heap_profile_note
from rtmalloc.core.profile.profile cimport profile_note_large
from rtmalloc.core.spans.shelf cimport Draw, shelf_draw_begin
from rtmalloc.core.spans.slot cimport slot_draw, slot_here
from rtmalloc.core.types cimport Allocator, Bin, Heap

cdef enum:
    REFILL_ALL = 0xFFFF        # refill_bin: no bound but the bin's
    RESCUE_MOST = 64           # largest blocks of the arena: the emergency flush is not made for more than so many

cdef extern from *:
    """
    #include <stdint.h>
    #define RT_LARGEST_REQUEST ((size_t)PTRDIFF_MAX)
    """
    const size_t RT_LARGEST_REQUEST


cdef inline int malloc_flush_all(Heap* h) noexcept nogil:
    # The emergency flush, and with it what the heaps of CPUs cache. Whether memory went back to the kernel. `h` is the
    # caller's heap or NULL.
    cdef Allocator* a = allocator()
    if RT_PERCPU_BUILT:
        cpu_heaps_flush(a)
    return pressure_flush(a, h)


cdef inline cold_void malloc_rescue(Heap* h) noexcept nogil:
    # The kernel refuses memory: flush everything, for another attempt. `h` is NULL for a thread without a heap.
    malloc_flush_all(h)
    pressure_refused(allocator())


cdef inline void* malloc_from_heap(Heap* h, size_t bytes, uint32_t most) noexcept nogil:
    # An object of a real heap for a small request, whatever it takes.
    cdef uint32_t class_ = class_of_size(bytes)
    cdef Bin* b = &h.bins[class_]
    cdef void* p = b.top[0]
    if p != NULL:
        h.last_zeroed = False
        b.top -= 1
        return p
    if b.top != bin_floor(h, class_):
        return sample_take_fence(h, class_, bytes)
    tick_beats(h, REFILL_BEATS)
    # The tick may have flushed, never filled.
    p = refill_bin(h, class_, bytes, most)
    if unlikely(p == NULL):
        malloc_rescue(h)
        p = refill_bin(h, class_, bytes, most)
        if p == NULL:
            rt_set_errno(ENOMEM)
    return p


cdef inline cold_pointer malloc_alone(size_t bytes, bint* zeroed) noexcept nogil:
    # For a thread that has no heap any more (or gets none): one object, straight from a span.
    cdef Allocator* a = allocator()
    cdef uint32_t class_ = class_of_size(bytes)
    cdef Draw d
    cdef int attempt
    shelf_draw_begin(&d, 1)
    for attempt in range(2):
        slot_draw(a, slot_here(a), class_, &d)
        if d.got:
            zeroed[0] = d.zeroed
            return d.run[0].first + rt_lowest_bit(d.run[0].mask) * <size_t>d.run[0].size
        if attempt == 0:
            malloc_rescue(NULL)
    rt_set_errno(ENOMEM)
    return NULL


cdef inline slow_pointer malloc_slow(size_t bytes) noexcept nogil:
    cdef Heap* h = thread_heap()
    cdef bint zeroed = False
    if unlikely(not allocator_open() or bytes > rt_class_largest):
        # A table that was read may end below the largest size that the fast path asks for. (Bin 0 is always empty.)
        return malloc_large(bytes)
    if unlikely(not heap_is_real(h)):
        h = <Heap*>thread_heap_open()
        if h == NULL:
            return malloc_alone(bytes, &zeroed)
    return malloc_from_heap(h, bytes, REFILL_ALL)


cdef inline slow_pointer malloc_large(size_t bytes) noexcept nogil:
    return malloc_large_aligned(bytes, 1, False)


cdef inline void* malloc_large_try(Allocator* a, size_t bytes, size_t alignment, bint zero) noexcept nogil:
    # A run of slices, else a mapping of its own; NULL when there is no memory.
    cdef void* p
    if limit_refuses(a, bytes):
        return NULL
    p = large_take(a, bytes, alignment)
    if p == NULL:
        return giant_take(a, bytes, alignment)
    if zero:
        large_zero(a, <uint32_t>arena_slice_of(&a.arena, p), bytes)
    return p


cdef inline slow_pointer malloc_large_aligned(size_t bytes, size_t alignment, bint zero) noexcept nogil:
    # A block above the small classes; with `zero` its first `bytes` are zero.
    cdef Allocator* a = allocator()
    cdef Heap* h
    cdef void* p
    if bytes == 0:
        # Too strict an alignment for the small classes; a block has at least one byte of its own.
        bytes = 1
    if bytes > RT_LARGEST_REQUEST or not allocator_open():
        rt_set_errno(ENOMEM)
        return NULL
    profile_note_large(a, bytes)
    h = front_beats(REFILL_BEATS)
    limiter_before(a, bytes)
    p = malloc_large_try(a, bytes, alignment, zero)
    # (No amount of tidying makes room for more than machines have.)
    if unlikely(p == NULL and bytes <= RESCUE_MOST * RT_LARGE_MOST):
        malloc_rescue(h)
        p = malloc_large_try(a, bytes, alignment, zero)
    if p == NULL:
        rt_set_errno(ENOMEM)
    heap_profile_note(a, p, bytes)
    return p


cdef inline Heap* front_beats(int32_t beats) noexcept nogil:
    # The heartbeat of calls that do not come by a bin. The calling thread's heap, or NULL when it has none.
    cdef Heap* h = thread_heap_or_null()
    if RT_PERCPU_BUILT and percpu_serves():
        cpu_beats(beats)
        return NULL
    if h == NULL:
        # Also a thread that has large blocks alone comes by now and then.
        h = <Heap*>thread_heap_open()
    if h != NULL:
        tick_beats(h, beats)
    return h
