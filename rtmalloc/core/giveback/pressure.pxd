# When memory is short: the emergency flush across all threads, and who sets it off. A failed mmap does (entry.pxd), a call
# does (rtmalloc_emergency_flush), and the kernel does where somebody watches its sources of pressure (pressure.h): the
# background thread, or a thread of Python's that has callbacks to call.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_add_u64, rt_load_acquire_u32, rt_load_relaxed_u64, rt_swap_if_u64,
)
from rtmalloc.core.base.attributes cimport cold_int, cold_void
from rtmalloc.core.heaps.heap cimport Heap
from rtmalloc.core.base.lock cimport Lock, lock_drop, lock_take
from rtmalloc.core.spans.mailbox cimport mailbox_has_mail, mailbox_of
from rtmalloc.core.base.platform cimport rt_os_clock_ms
from rtmalloc.core.giveback.purge cimport Purge, purge_everything, purge_hurry
from rtmalloc.core.heaps.refill cimport heaps_flush
from rtmalloc.core.heaps.remote cimport heap_evict
from rtmalloc.core.spans.store cimport Store
from rtmalloc.core.spans.transfer_cache cimport transfer_drain

cdef extern from "giveback/pressure.h" nogil:
    enum:
        RT_PRESSURE_CGROUP
        RT_PRESSURE_SYSTEM
        RT_PRESSURE_EVENTS
        RT_PRESSURE_FILE
        RT_PRESSURE_WAKE
        RT_PRESSURE_SOURCES
    ctypedef struct rt_pressure_source:
        int fd
        uint32_t kind
        uint64_t device
        uint64_t inode
        uint64_t seen
    uint32_t rt_pressure_open(rt_pressure_source* sources, uint64_t stall_ms) noexcept
    uint32_t rt_pressure_look(rt_pressure_source* sources, rt_pressure_source* wake, int ms) noexcept
    void rt_pressure_close(rt_pressure_source* source) noexcept
    bint rt_pressure_pipe(rt_pressure_source* wake) noexcept
    void rt_pressure_wake(const rt_pressure_source* wake) noexcept

cdef enum:
    PRESSURE_REST_MS = 500     # alarms so soon after another one are the same pressure: the flush is not repeated
    PRESSURE_HURRY_MS = 1000   # so long after a flush all that comes home goes to the kernel at once: other threads' bins

cdef struct Pressure:
    uint64_t flushes           # emergency flushes, whoever asked for them (atomic, as the next two)
    uint64_t refusals          # of them, because the kernel refused memory
    uint64_t alarms            # of them, because a source of pressure spoke
    uint64_t alarmed_at        # clock, in ms, of the last alarm that was followed
    Lock lock                  # guards `wake`; a write into a pipe that does not block happens under it
    rt_pressure_source wake    # who wants to hear of refusals: the writing end of his pipe (kind 0: nobody)


cdef inline cold_int emergency_flush(Store* store, Purge* purge, Pressure* pressure, Heap* self) noexcept nogil:
    # Give back all that can be: what `self` (the caller's heap, or NULL) caches at once, what other threads cache at their
    # next tick, empty spans that their sleeping owners have not seen, and everything free. What comes home within the next
    # second follows without the usual delay. Whether anything went to the kernel now.
    cdef uint32_t id
    rt_add_u64(&pressure.flushes, 1)
    # Before the flush is asked for: a thread that follows at once finds the purge in a hurry.
    purge_hurry(purge, rt_os_clock_ms() + PRESSURE_HURRY_MS)
    heaps_flush(store, self)
    for id in range(1, rt_load_acquire_u32(&store.heap_count) + 1):
        if (self == NULL or id != self.id) and mailbox_has_mail(mailbox_of(&store.arena, id)):
            heap_evict(store, self, <Heap*>store.heaps[id])
    transfer_drain(&store.transfer, &store.arena.pages, True)
    return purge_everything(store, purge, self)


cdef inline cold_int pressure_alarm(Store* store, Purge* purge, Pressure* pressure, Heap* self) noexcept nogil:
    # A source of pressure has spoken: an emergency flush, unless there has just been one. Whether this call made it.
    cdef uint64_t now = rt_os_clock_ms()
    cdef uint64_t last = rt_load_relaxed_u64(&pressure.alarmed_at)
    if (last and now < last + PRESSURE_REST_MS) or not rt_swap_if_u64(&pressure.alarmed_at, &last, now):
        return 0
    rt_add_u64(&pressure.alarms, 1)
    emergency_flush(store, purge, pressure, self)
    return 1


cdef inline cold_void pressure_tell(Pressure* pressure) noexcept nogil:
    # Wake whoever wants to hear of pressure: one system call or two, no memory.
    lock_take(&pressure.lock)
    if pressure.wake.kind:
        rt_pressure_wake(&pressure.wake)
    lock_drop(&pressure.lock)


cdef inline cold_void pressure_refused(Pressure* pressure) noexcept nogil:
    # The kernel refused memory, and what could be given back is given back.
    rt_add_u64(&pressure.refusals, 1)
    pressure_tell(pressure)


cdef inline cold_void pressure_listen(Pressure* pressure, const rt_pressure_source* wake) noexcept nogil:
    # From now on tell `wake` of refusals; NULL tells nobody. The descriptor stays the caller's, who calls again with NULL
    # before he closes it.
    lock_take(&pressure.lock)
    if wake == NULL:
        pressure.wake.kind = 0
    else:
        pressure.wake = wake[0]
    lock_drop(&pressure.lock)
