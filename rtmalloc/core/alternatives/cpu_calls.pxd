# malloc and free by way of a CPU's heap, where its bins do not serve: with the heap's turn.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.alternatives.cpu_heap cimport (
    cpu_heap_drop, cpu_heap_start, cpu_heap_stop, cpu_heap_take, cpu_heap_try,
)
from rtmalloc.core.alternatives.cpu_tick cimport cpu_beats, cpu_tick
from rtmalloc.core.alternatives.percpu cimport (
    RT_PERCPU_FULL, rt_percpu_pop, rt_percpu_push, rt_percpu_put, rt_percpu_take,
)
from rtmalloc.core.base.attributes cimport slow_pointer, slow_void
from rtmalloc.core.base.bitmap cimport rt_highest_bit, rt_lowest_bit
from rtmalloc.core.base.platform cimport ENOMEM, rt_set_errno
from rtmalloc.core.base.size_class cimport class_of_size, rt_class_largest, rt_class_size
from rtmalloc.core.calls.free_slow cimport FREE_SMALL, free_alone, free_special
from rtmalloc.core.calls.malloc_slow cimport REFILL_ALL, malloc_alone, malloc_large, malloc_rescue
from rtmalloc.core.calls.tick cimport REFILL_BEATS
from rtmalloc.core.heaps.bin cimport bin_grow, bin_wants_more
from rtmalloc.core.heaps.home cimport home_free, home_send
from rtmalloc.core.heaps.refill cimport refill_draw
from rtmalloc.core.heaps.tls cimport RT_BINS_OFFSET
from rtmalloc.core.pages.tag cimport BIN_BYTES, tag_class
from rtmalloc.core.spans.shelf cimport Draw
from rtmalloc.core.types cimport Heap

cdef enum:
    CPU_BATCH = 64             # objects moved between a bin and the caller's stack at a time


cdef inline void cpu_bin_put(Heap* h, uint32_t class_, const Draw* d) noexcept nogil:
    # What was drawn, but for the first object, goes into a bin of the heap's CPU; home, if it is out of reach or full.
    cdef void* objects[CPU_BATCH]
    cdef uint64_t mask
    cdef uint32_t i, count, done
    for i in range(d.runs):
        mask = d.run[i].mask & (d.run[i].mask - 1) if i == 0 else d.run[i].mask
        count = 0
        while mask:
            # The highest first, so that the lowest is on top.
            objects[count] = d.run[i].first + rt_highest_bit(mask) * <size_t>d.run[i].size
            mask &= ~(<uint64_t>1 << rt_highest_bit(mask))
            count += 1
        done = rt_percpu_put(h, RT_BINS_OFFSET + class_ * BIN_BYTES, objects, count)
        while done < count:
            home_free(h, objects[done], rt_class_size[class_])
            done += 1


cdef inline void cpu_bin_halve(Heap* h, uint32_t class_) noexcept nogil:
    # A full bin gives up half of what it has, so that the next frees need no turn.
    cdef void* objects[CPU_BATCH]
    cdef uint32_t left = h.sources[class_].capacity // 2
    cdef uint32_t count
    while left:
        count = rt_percpu_take(h, RT_BINS_OFFSET + class_ * BIN_BYTES, objects, left if left < CPU_BATCH else CPU_BATCH)
        if count == 0:
            return
        home_send(h, objects, count)
        left -= count


cdef inline void cpu_bin_grow(Heap* h, uint32_t class_) noexcept nogil:
    if bin_wants_more(h, class_):
        cpu_heap_stop(h)
        bin_grow(h, class_)
        cpu_heap_start(h)


cdef inline void* cpu_refill(Heap* h, uint32_t class_, uint32_t most, bint* zeroed) noexcept nogil:
    # As refill_bin, with the turn.
    cdef Draw d
    cpu_bin_grow(h, class_)
    h.slot = refill_draw(h, class_, most, &d)
    if d.got == 0:
        return NULL
    zeroed[0] = d.zeroed
    cpu_bin_put(h, class_, &d)
    return d.run[0].first + rt_lowest_bit(d.run[0].mask) * <size_t>d.run[0].size


cdef inline void* cpu_malloc(size_t bytes, uint32_t most, bint* zeroed) noexcept nogil:
    # An object by way of the CPU's heap, whatever it takes. *zeroed: whether it is known to be zero.
    cdef uint32_t class_ = class_of_size(bytes)
    cdef Heap* h
    cdef void* p = NULL
    cdef int32_t beat
    cdef int attempt
    for attempt in range(2):
        zeroed[0] = False
        h = cpu_heap_take()
        if h == NULL:
            return malloc_alone(bytes, zeroed)
        # While we waited for the turn another thread may have filled the bin.
        p = rt_percpu_pop(RT_BINS_OFFSET + class_ * BIN_BYTES)
        if p == NULL:
            p = cpu_refill(h, class_, most, zeroed)
            h.beat -= REFILL_BEATS
        beat = h.beat
        cpu_heap_drop(h)
        if p != NULL:
            if beat < 0:
                cpu_tick()
            return p
        if attempt == 0:
            malloc_rescue(NULL)
    rt_set_errno(ENOMEM)
    return NULL


cdef inline slow_pointer cpu_malloc_slow(size_t bytes) noexcept nogil:
    cdef bint zeroed = False
    if unlikely(bytes > rt_class_largest):
        return malloc_large(bytes)
    return cpu_malloc(bytes, REFILL_ALL, &zeroed)


cdef inline slow_void cpu_free_slow(void* p) noexcept nogil:
    # In the arena, but no bin has taken it: there is none of its class here yet, or it is full, or it is no small object.
    # (One that the profile follows came from the heap of a thread without a registration.)
    cdef uint32_t tag = 0
    cdef int32_t beat = free_special(p, &tag)
    cdef uint32_t class_
    cdef Heap* h
    if beat != FREE_SMALL:
        if beat:
            cpu_beats(beat)
        return
    class_ = tag_class(tag)
    h = cpu_heap_try()
    if h == NULL:
        # Another thread has the turn, and perhaps sleeps: free does not wait.
        free_alone(p)
        return
    if h.sources[class_].capacity == 0:
        # Where the class is only ever freed it gets its first capacity here.
        cpu_bin_grow(h, class_)
    else:
        h.sources[class_].overflows = 1
        cpu_bin_halve(h, class_)
    if rt_percpu_push(p, RT_BINS_OFFSET + class_ * BIN_BYTES) == RT_PERCPU_FULL:
        home_free(h, p, rt_class_size[class_])
    h.beat -= 1
    beat = h.beat
    cpu_heap_drop(h)
    if beat < 0:
        cpu_tick()
