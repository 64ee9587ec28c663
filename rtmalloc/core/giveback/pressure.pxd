# When memory is short: the emergency flush across all threads, and what sets it off.
# Refused memory does (calls/malloc_slow.pxd), a call does (rtmalloc_emergency_flush), and the kernel does where a
# thread watches its sources of pressure (base/pressure.h): the background thread, or one of Python's that has callbacks
# to call.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_add_u64, rt_load_relaxed_u64, rt_swap_if_u64
from rtmalloc.core.base.attributes cimport cold_int, cold_void
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport rt_os_clock_ms
from rtmalloc.core.giveback.purge cimport purge_everything, purge_hurry
from rtmalloc.core.heaps.heap_pool cimport heaps_flush
from rtmalloc.core.spans.transfer_cache cimport transfer_drain
from rtmalloc.core.types cimport Allocator, Heap, rt_pressure_source

cdef extern from "base/pressure.h" nogil:
    enum:
        RT_PRESSURE_CGROUP
        RT_PRESSURE_SYSTEM
        RT_PRESSURE_EVENTS
        RT_PRESSURE_FILE
        RT_PRESSURE_WAKE
    uint32_t rt_pressure_open(rt_pressure_source* sources, uint64_t stall_ms) noexcept
    uint32_t rt_pressure_look(rt_pressure_source* sources, rt_pressure_source* wake, int ms) noexcept
    void rt_pressure_close(rt_pressure_source* source) noexcept
    bint rt_pressure_pipe(rt_pressure_source* wake) noexcept
    void rt_pressure_wake(const rt_pressure_source* wake) noexcept

cdef enum:
    PRESSURE_REST_MS = 500     # alarms so soon after another one are the same pressure: the flush is not repeated
    PRESSURE_HURRY_MS = 1000   # so long after a flush all that comes home goes to the kernel at once: other threads' bins


cdef inline cold_int pressure_flush(Allocator* a, Heap* self) noexcept nogil:
    # Give back all that can be: what `self` (the caller's heap, or NULL) caches at once, what other threads cache at their
    # next tick, and everything free. What comes home within the next second follows without the usual delay. Whether
    # anything went to the kernel now.
    rt_add_u64(&a.pressure.flushes, 1)
    # Before the flush is asked for: a thread that follows at once finds the purge in a hurry.
    purge_hurry(a, rt_os_clock_ms() + PRESSURE_HURRY_MS)
    heaps_flush(a, self)
    transfer_drain(&a.transfer, &a.arena.pages, True)
    return purge_everything(a)


cdef inline cold_int pressure_alarm(Allocator* a, Heap* self) noexcept nogil:
    # A source of pressure has spoken: an emergency flush, unless there has just been one. Whether this call made it.
    cdef uint64_t now = rt_os_clock_ms()
    cdef uint64_t last = rt_load_relaxed_u64(&a.pressure.alarmed_at)
    if (last and now < last + PRESSURE_REST_MS) or not rt_swap_if_u64(&a.pressure.alarmed_at, &last, now):
        return 0
    rt_add_u64(&a.pressure.alarms, 1)
    pressure_flush(a, self)
    return 1


cdef inline cold_void pressure_tell(Allocator* a) noexcept nogil:
    # Wake whoever wants to hear of pressure: one system call or two, no memory.
    lock_take(&a.pressure.lock)
    if a.pressure.wake.kind:
        rt_pressure_wake(&a.pressure.wake)
    lock_drop(&a.pressure.lock)


cdef inline cold_void pressure_refused(Allocator* a) noexcept nogil:
    # The kernel refused memory, and what could be given back is given back.
    rt_add_u64(&a.pressure.refusals, 1)
    pressure_tell(a)


cdef inline cold_void pressure_listen(Allocator* a, const rt_pressure_source* wake) noexcept nogil:
    # From now on tell `wake` of refusals; NULL tells nobody. The descriptor stays the caller's, who calls again with NULL
    # before he closes it.
    lock_take(&a.pressure.lock)
    if wake == NULL:
        a.pressure.wake.kind = 0
    else:
        a.pressure.wake = wake[0]
    lock_drop(&a.pressure.lock)
