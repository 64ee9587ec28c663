# Heaps: a thread takes one when it first needs it, and gives it back clean when it ends.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base._options cimport RT_OPTION_epoch_ms, RT_OPTION_idle_epochs, RT_OPTION_remote_kib
from rtmalloc.core.base.atomics cimport (
    rt_add_u64, rt_load_acquire_pointer, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_store_relaxed_u32,
    rt_store_relaxed_u64, rt_store_release_pointer,
)
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try, rt_mark_open
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_map, rt_os_thread_id, rt_os_thread_is_gone
from rtmalloc.core.heaps.beat cimport BEAT_MOST, beat_begin
from rtmalloc.core.heaps.bin cimport bins_open
from rtmalloc.core.heaps.cells cimport CELL_COUNT
from rtmalloc.core.heaps.epoch cimport epoch_flush
from rtmalloc.core.heaps.sample cimport sample_begin
from rtmalloc.core.spans.slot cimport slot_here
from rtmalloc.core.types cimport Allocator, Heap

cdef enum:
    HEAP_CHUNK = 4             # heaps mapped at a time


cdef inline Heap* heap_create(Allocator* a) noexcept nogil:
    # A new heap, under heaps_lock; NULL when there is no memory.
    cdef size_t bytes = (sizeof(Heap) + 127) & ~<size_t>127
    cdef Heap* h
    if a.heap_room == 0:
        a.heap_memory = <char*>rt_os_map(HEAP_CHUNK * (bytes + CELL_COUNT * sizeof(void*)))
        if a.heap_memory == NULL:
            return NULL
        a.heap_room = HEAP_CHUNK
    h = <Heap*>a.heap_memory
    h.cells = <void**>(a.heap_memory + bytes)
    h.cell_count = CELL_COUNT
    a.heap_memory += bytes + CELL_COUNT * sizeof(void*)
    a.heap_room -= 1
    h.allocator = a
    h.id = a.heap_count + 1
    bins_open(h)
    h.next = a.heaps
    # The list is walked without the lock: a heap is complete when it appears.
    rt_store_release_pointer(<void**>&a.heaps, h)
    rt_store_relaxed_u32(&a.heap_count, h.id)
    return h


cdef inline Heap* heap_first(Allocator* a) noexcept nogil:
    # The first of all heaps that were ever made; the others follow by `next`.
    return <Heap*>rt_load_acquire_pointer(<void**>&a.heaps)


cdef inline Heap* heap_acquire(Allocator* a) noexcept nogil:
    # A clean heap; NULL when there is none left.
    cdef Heap* h
    if rt_load_relaxed_u32(&a.heap_count):
        # A second thread, or the first one's successor: from now on a copy of the process may find locks taken.
        rt_mark_open()
    lock_take(&a.heaps_lock)
    h = a.pool
    if h != NULL:
        a.pool = h.pool_next
    else:
        h = heap_create(a)
    if h != NULL:
        rt_store_relaxed_u32(&h.live, 1)
        h.life += 1
        h.tid = rt_os_thread_id()
        a.threads_started += 1
    lock_drop(&a.heaps_lock)
    if h != NULL:
        h.slot = slot_here(a)
        h.tag_base = h.slot.tag_base
        h.beat_length = BEAT_MOST
        sample_begin(h)
        beat_begin(h, BEAT_MOST)
        h.flush_seen = rt_load_relaxed_u32(&a.flush_epoch)
        h.home_room = a.options.value[RT_OPTION_remote_kib] * 1024
        rt_store_relaxed_u64(&h.ticked_at, rt_os_clock_ms())
        h.epoch_at = rt_os_clock_ms() + a.options.value[RT_OPTION_epoch_ms]
    return h


cdef inline void heap_tell_inside(Allocator* a, Heap* h) noexcept nogil:
    # For who asks how much there is to give back (giveback/background.pxd).
    if h.inside:
        rt_add_u64(&a.background.inside, <uint64_t>h.inside)
        h.inside = 0


cdef inline void heap_recycle(Allocator* a, Heap* h) noexcept nogil:
    # The heap's thread needs it no more: everything in it goes home, and the next thread may have it.
    epoch_flush(h)
    heap_tell_inside(a, h)
    lock_take(&a.heaps_lock)
    rt_store_relaxed_u32(&h.live, 0)
    h.pool_next = a.pool
    a.pool = h
    a.threads_ended += 1
    lock_drop(&a.heaps_lock)


cdef inline void heaps_flush(Allocator* a, Heap* self) noexcept nogil:
    # Have every heap give back what it caches: the caller's (or NULL) at once, the others at their next tick.
    rt_store_relaxed_u32(&a.flush_epoch, rt_load_relaxed_u32(&a.flush_epoch) + 1)
    if self != NULL:
        self.flush_seen = rt_load_relaxed_u32(&a.flush_epoch)
        epoch_flush(self)


cdef inline void heaps_count_awake(Allocator* a, uint64_t now) noexcept nogil:
    # How many heaps have ticked lately, for the budget that they share. A heap sleeps when it has not ticked for as long as a
    # bin may go unused.
    cdef uint64_t idle_ms = <uint64_t>(a.options.value[RT_OPTION_epoch_ms] * (a.options.value[RT_OPTION_idle_epochs] + 1))
    cdef uint32_t count = 0
    cdef Heap* h = heap_first(a)
    while h != NULL:
        if rt_load_relaxed_u32(&h.live) and rt_load_relaxed_u64(&h.ticked_at) + idle_ms >= now:
            count += 1
        h = h.next
    rt_store_relaxed_u32(&a.heaps_awake, count)


cdef inline cold_void heap_reclaim_lost(Allocator* a, const Heap* mine) noexcept nogil:
    # A thread whose first call comes after the last round of its key destructors leaves its heap behind. Look at one heap
    # per epoch, going round. A heap that changed hands between the two looks has another `life`.
    cdef Heap* h
    cdef uint32_t tid, life
    cdef bint lost
    if not lock_try(&a.heaps_lock):
        return
    h = a.reclaim.next if a.reclaim != NULL and a.reclaim.next != NULL else a.heaps
    a.reclaim = h
    lost = h != NULL and h.live and h.cpu == 0 and h != mine
    tid = h.tid if lost else 0
    life = h.life if lost else 0
    lock_drop(&a.heaps_lock)
    if not lost or not rt_os_thread_is_gone(tid):
        return
    lock_take(&a.heaps_lock)
    lost = h.live and h.life == life
    if lost:
        # Ours now: no other thread takes it for lost as well.
        h.life += 1
        h.tid = rt_os_thread_id()
    lock_drop(&a.heaps_lock)
    if lost:
        heap_recycle(a, h)
