# A tick: now and then a slow path looks at the clock and does what is due.
# It comes every few hundred frees or few dozen refills of a busy thread, and every few frees of a slow one.
from libc.stdint cimport int32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.alternatives.cpu_heap cimport cpu_heaps_reclaim_idle
from rtmalloc.core.alternatives.percpu cimport RT_PERCPU_BUILT
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_store_relaxed_u64
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.config cimport RT_CHECK
from rtmalloc.core.base.platform cimport rt_os_clock_ms
from rtmalloc.core.calls.check cimport check_heap, check_shared
from rtmalloc.core.giveback.background cimport background_tick
from rtmalloc.core.giveback.limiter cimport limiter_tick
from rtmalloc.core.giveback.purge cimport purge_tick
from rtmalloc.core.giveback.shared_epoch cimport shared_epoch
from rtmalloc.core.heaps.beat cimport BEAT_LEAST, BEAT_MOST, beat_begin, beat_break
from rtmalloc.core.heaps.epoch cimport epoch_flush, epoch_heap
from rtmalloc.core.heaps.heap_pool cimport heap_reclaim_lost, heap_tell_inside
from rtmalloc.core.heaps.sample cimport sample_begin
from rtmalloc.core.heaps.thread cimport thread_heap
from rtmalloc.core.types cimport Allocator, Heap

cdef enum:
    REFILL_BEATS = 16          # a refill, or a large block, counts as so many frees towards the next tick
    LARGE_BEATS = 2            # ... and a large block that is freed as one more for so many of its slices: by 8 MiB a tick comes


cdef inline bint tick_heap(Heap* h, uint64_t now) noexcept nogil:
    # What a tick does for its heap. Whether the heap's epoch was due: then what is shared is looked at, too.
    cdef Allocator* a = h.allocator
    cdef int32_t length = h.beat_length
    if RT_CHECK and h.cpu == 0:
        check_heap(h)
    if now == h.ticked_at:
        length = length * 2 if length < BEAT_MOST else length
    elif length > BEAT_LEAST:
        length //= 2
    rt_store_relaxed_u64(&h.ticked_at, now)
    h.beat_length = length
    beat_break(h)
    if unlikely(h.recording != rt_load_relaxed_u32(&a.profile.recording) and h.cpu == 0):
        # (The profile does not follow what passes through the bins of CPUs.)
        sample_begin(h)
    beat_begin(h, length)
    h.counters.ticks += 1
    if h.flush_seen != rt_load_relaxed_u32(&a.flush_epoch):
        h.flush_seen = rt_load_relaxed_u32(&a.flush_epoch)
        epoch_flush(h)
    heap_tell_inside(a, h)
    if now < h.epoch_at:
        return False
    epoch_heap(h, now)
    return True


cdef inline void tick_shared(Allocator* a, uint64_t now, bint epoch) noexcept nogil:
    # What a tick does for all, holding nothing: it makes system calls, and may start a thread, which allocates.
    if epoch and shared_epoch(a, now):
        if RT_CHECK:
            check_shared(a)
        heap_reclaim_lost(a, thread_heap())
        if RT_PERCPU_BUILT:
            cpu_heaps_reclaim_idle(a, now)
    limiter_tick(a, now)
    purge_tick(a, now)
    background_tick(a)


cdef inline slow_void tick(Heap* h) noexcept nogil:
    # errno stays: free must not change it.
    cdef uint64_t now = rt_os_clock_ms()
    cdef bint epoch = tick_heap(h, now)
    tick_shared(h.allocator, now, epoch)


cdef inline void tick_beats(Heap* h, int32_t beats) noexcept nogil:
    # Slow paths count too. They count apart from the fast one, which alone counts the frees into bins (heaps/sample.pxd).
    h.beat_rest -= beats
    if unlikely(h.beat_rest + h.beat < 0):
        tick(h)
