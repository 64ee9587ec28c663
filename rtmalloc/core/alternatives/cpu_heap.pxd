# The heaps of CPUs (variant percpu): one for each CPU that a thread of the process has allocated on.
# They stay: a thread that ends has nothing to give back. percpu.pxd has the mode.
#
# malloc and free reach a CPU's bins by restartable sequences (percpu.h). Everything else of such a heap is what it is in a
# thread's heap, and belongs to whichever thread has the heap's *turn*, a lock that is taken in the slow paths. A thread
# with the turn may be moved to another CPU at any time; then the bins are out of its reach, and what it has in hand goes to
# the spans.
#
# To reach the bins of another CPU, and to change more of a bin than its top, a thread with the turn *stops* the heap: takes
# it out of the table that sequences read, and has the kernel abort the one that may be under way there. Then everything is
# as in a thread's heap. docs/caches-per-cpu.md has the argument.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.alternatives.percpu cimport RT_CPUS, percpu_serves, rt_percpu, rt_percpu_cpu
from rtmalloc.core.base._options cimport RT_OPTION_epoch_ms, RT_OPTION_idle_epochs
from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_pointer, rt_load_relaxed_u32, rt_store_pointer, rt_store_release_pointer,
)
from rtmalloc.core.base.attributes cimport cold_pointer, cold_void
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.base.platform cimport rt_os_sequences_abort, rt_os_yield
from rtmalloc.core.heaps.epoch cimport epoch_flush
from rtmalloc.core.heaps.heap_pool cimport heap_acquire, heap_first, heap_recycle
from rtmalloc.core.heaps.instance cimport allocator, allocator_open
from rtmalloc.core.types cimport Allocator, Heap


cdef inline bint cpu_heaps_serve() noexcept nogil:
    # Whether the calling thread allocates from the heaps of CPUs. The first call of all opens the allocator, which finds out
    # whether sequences work here.
    return allocator_open() and percpu_serves()


cdef inline cold_pointer cpu_heap_open(uint32_t cpu) noexcept nogil:
    # The heap of a CPU that had none until now; NULL when no heap is left.
    cdef Allocator* a = allocator()
    cdef Heap* h = heap_acquire(a)
    cdef Heap* other
    if h == NULL:
        return NULL
    # Under the lock that fork takes first: a child finds the heap published, or one without a thread.
    lock_take(&a.heaps_lock)
    other = <Heap*>rt_percpu.homes[cpu]
    if other == NULL:
        h.cpu = cpu + 1
        h.tid = 0
        # The profile follows what passes through a thread's bins (sample.pxd), not through these.
        h.recording = 0
        h.beat = h.beat_length
        h.beat_rest = 0
        a.cpus += 1
        # No thread has it: that is not counted as one that has begun.
        a.threads_started -= 1
        rt_store_release_pointer(&rt_percpu.homes[cpu], h)
        rt_store_release_pointer(&rt_percpu.heaps[cpu], h)
    lock_drop(&a.heaps_lock)
    if other != NULL:
        # Two threads came at once.
        heap_recycle(a, h)
        return other
    return h


cdef inline Heap* cpu_heap_here() noexcept nogil:
    # The heap of the CPU we are on, made now if it has none; NULL when there is none to be had. Another thread's, a moment
    # later, or another CPU's than ours: that is why it has a turn.
    cdef uint32_t cpu = rt_percpu_cpu()
    cdef Heap* h
    if cpu >= RT_CPUS:
        return NULL
    h = <Heap*>rt_load_acquire_pointer(&rt_percpu.homes[cpu])
    return h if h != NULL else <Heap*>cpu_heap_open(cpu)


cdef inline Heap* cpu_heap_take() noexcept nogil:
    # The same, and its turn, until cpu_heap_drop.
    cdef Heap* h = cpu_heap_here()
    if h != NULL:
        lock_take(&h.turn)
        h.emptied = False
    return h


cdef inline Heap* cpu_heap_try() noexcept nogil:
    # The same; NULL also when another thread has the turn. (Or we, if we are forking.)
    cdef Heap* h = cpu_heap_here()
    if h == NULL or not lock_try(&h.turn):
        return NULL
    h.emptied = False
    return h


cdef inline void cpu_heap_drop(Heap* h) noexcept nogil:
    lock_drop(&h.turn)


cdef inline void cpu_heap_stop(Heap* h) noexcept nogil:
    # With the turn: no sequence has this heap from now on, until cpu_heap_start. The store comes before the call, which is a
    # barrier on both CPUs: a sequence that read the table before it has committed or is aborted; one that begins after it
    # finds NULL. (That the kernel does it was tried when the mode was turned on.)
    rt_store_pointer(&rt_percpu.heaps[h.cpu - 1], NULL)
    while rt_os_sequences_abort(h.cpu - 1) != 0:
        rt_os_yield()


cdef inline void cpu_heap_start(Heap* h) noexcept nogil:
    # Release: a sequence that finds the heap in the table finds the bins as we leave them.
    rt_store_release_pointer(&rt_percpu.heaps[h.cpu - 1], h)


cdef inline void cpu_heap_flush(Heap* h) noexcept nogil:
    # With the turn: everything that the heap caches goes home.
    cpu_heap_stop(h)
    epoch_flush(h)
    cpu_heap_start(h)


cdef inline cold_void cpu_heaps_flush(Allocator* a) noexcept nogil:
    # Everything that the heaps of CPUs cache goes back, holding nothing.
    cdef Heap* h = heap_first(a)
    while h != NULL:
        if h.cpu:
            lock_take(&h.turn)
            h.flush_seen = rt_load_relaxed_u32(&a.flush_epoch)
            cpu_heap_flush(h)
            cpu_heap_drop(h)
        h = h.next


cdef inline bint cpu_heap_is_idle(const Heap* h, uint64_t now) noexcept nogil:
    # Whether nothing has ticked on the heap's CPU for so long that bins there would be empty, and something may be in it.
    cdef const int64_t* option = h.allocator.options.value
    if h.cpu == 0 or h.emptied:
        return False
    return now >= h.epoch_at + <uint64_t>(option[RT_OPTION_idle_epochs] * option[RT_OPTION_epoch_ms])


cdef inline cold_void cpu_heaps_reclaim_idle(Allocator* a, uint64_t now) noexcept nogil:
    # A CPU that the process has left ticks no more: a tick elsewhere flushes it. Once per epoch.
    cdef Heap* h = heap_first(a)
    while h != NULL:
        if cpu_heap_is_idle(h, now) and lock_try(&h.turn):
            if cpu_heap_is_idle(h, now):
                cpu_heap_flush(h)
                h.emptied = True
            cpu_heap_drop(h)
        h = h.next
