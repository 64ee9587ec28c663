# The heartbeat of a CPU's heap.
# A thread does not wait for a tick: where another one has the turn, it is left to the next.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from rtmalloc.core.alternatives.cpu_heap cimport (
    cpu_heap_drop, cpu_heap_here, cpu_heap_start, cpu_heap_stop, cpu_heap_try,
)
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_store_relaxed_u32
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.platform cimport rt_os_clock_ms
from rtmalloc.core.calls.tick cimport tick_heap, tick_shared
from rtmalloc.core.types cimport Heap


cdef inline slow_void cpu_tick() noexcept nogil:
    cdef uint64_t now = rt_os_clock_ms()
    cdef Heap* h = cpu_heap_try()
    cdef bint epoch
    if h == NULL:
        return
    if h.beat >= 0:
        # Another thread has just done it, or we have been moved.
        cpu_heap_drop(h)
        return
    cpu_heap_stop(h)
    epoch = tick_heap(h, now)
    cpu_heap_start(h)
    cpu_heap_drop(h)
    tick_shared(h.allocator, now, epoch)


cdef inline void cpu_beats(int32_t beats) noexcept nogil:
    # The heartbeat of calls that do not come by a bin. Two threads may lose a count.
    cdef Heap* h = cpu_heap_here()
    cdef int32_t left
    if h != NULL:
        left = <int32_t>rt_load_relaxed_u32(<uint32_t*>&h.beat) - beats
        rt_store_relaxed_u32(<uint32_t*>&h.beat, <uint32_t>left)
        if left < 0:
            cpu_tick()
