# The soft limit (memory_limit): as the heap nears it, free memory goes back at once, and callbacks are called.
# A heartbeat or a large request comes by and looks at an estimate (pages/limit.pxd). In the last sixteenth below the limit
# decay ends: passes give back at once. Beyond it the thread that comes by flushes caches, has Python's callbacks called, and
# gives back segment by segment until the heap is below again. It never refuses memory. By its own clock this work takes at
# most one part in LIMITER_SHARE of the time, with LIMITER_CREDIT_US saved up from rests: one thread at a time does it.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base._options cimport RT_OPTION_memory_limit
from rtmalloc.core.base.atomics cimport (
    rt_load_relaxed_u64, rt_store_relaxed_u64, rt_store_release_u32, rt_swap_if_u32, rt_swap_if_u64,
)
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.lock cimport lock_drop, lock_try
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_clock_us, rt_os_private_bytes
from rtmalloc.core.giveback.batch cimport Batch, batch_flush, batch_open
from rtmalloc.core.giveback.pressure cimport pressure_tell
from rtmalloc.core.giveback.purge cimport purge_hurry, purge_segment
from rtmalloc.core.heaps.heap_pool cimport heaps_flush
from rtmalloc.core.pages.limit cimport limit_resident
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.spans.transfer_cache cimport transfer_drain
from rtmalloc.core.types cimport Allocator

cdef extern from "base/cgroup.h" nogil:
    uint64_t rt_cgroup_limit() noexcept
    const uint64_t RT_CGROUP_NONE

cdef enum:
    LIMITER_AUTO = -1          # memory_limit: from the control group,
    LIMITER_GROUP_PART = 8     # ... less one part in so many for what is not heap
    LIMITER_NEAR_PART = 16     # the last one in so many below the limit is near
    LIMITER_SHARE = 4          # of the time, at most: a service that is killed has no use for the rest
    LIMITER_CREDIT_US = 500000
    LIMITER_VISIT_US = 10000   # of it, at most, while one call waits
    LIMITER_READ_MS = 10000    # between two looks at the control group's files
    LIMITER_TELL_MS = 500      # between two flushes of caches and calls of callbacks
    LIMITER_REST_MS = 50       # after work that found nothing, or memory that is not touched


cdef inline uint64_t limiter_soft(Allocator* a, uint64_t now) noexcept nogil:
    # The soft limit in bytes, 0 for none.
    cdef int64_t chosen = a.options.value[RT_OPTION_memory_limit]
    cdef uint64_t due = rt_load_relaxed_u64(&a.limit.read_at)
    cdef uint64_t group
    if chosen != LIMITER_AUTO:
        return <uint64_t>chosen
    if now >= due and rt_swap_if_u64(&a.limit.read_at, &due, now + LIMITER_READ_MS):
        group = rt_cgroup_limit()
        rt_store_relaxed_u64(&a.limit.group, 0 if group >= RT_CGROUP_NONE else group - group // LIMITER_GROUP_PART)
    return rt_load_relaxed_u64(&a.limit.group)


cdef inline void limiter_tell(Allocator* a, uint64_t now) noexcept nogil:
    # Caches are flushed, each at its thread's next tick, and callbacks are called in their own thread.
    if now < a.limit.tell_at:
        return
    a.limit.tell_at = now + LIMITER_TELL_MS
    heaps_flush(a, NULL)
    transfer_drain(&a.transfer, &a.arena.pages, True)
    pressure_tell(a)


cdef inline bint limiter_give(Allocator* a, uint64_t target, int64_t until) noexcept nogil:
    # Give back free memory, segment by segment, until the heap is at `target` or the clock, in us, at `until`. Whether any went.
    cdef uint64_t before, after
    cdef uint32_t left = page_heap_opened(&a.arena.pages)
    cdef Batch b
    if left == 0 or not lock_try(&a.purge.lock):
        return False
    before = a.purge.slices + a.purge.spans.bytes
    batch_open(&b)
    while left and limit_resident(a) > target and <int64_t>rt_os_clock_us() < until:
        a.limit.cursor = a.limit.cursor + 1 if a.limit.cursor + 1 < page_heap_opened(&a.arena.pages) else 0
        purge_segment(a, &b, a.limit.cursor, True, 0)
        batch_flush(a, &b)
        left -= 1
    after = a.purge.slices + a.purge.spans.bytes
    lock_drop(&a.purge.lock)
    return after != before


cdef inline void limiter_rest(Allocator* a, uint64_t now, uint64_t below) noexcept nogil:
    rt_store_relaxed_u64(&a.limit.rest_below, below)
    rt_store_relaxed_u64(&a.limit.rest_until, now + LIMITER_REST_MS)


cdef inline void limiter_work(Allocator* a, uint64_t now, uint64_t target, uint64_t all) noexcept nogil:
    # By the one thread that has `busy`; the estimate is `all`.
    cdef int64_t began = <int64_t>rt_os_clock_us()
    cdef int64_t ended
    cdef uint64_t there
    a.limit.credit_us += (began - a.limit.earned_at) // LIMITER_SHARE
    a.limit.earned_at = began
    if a.limit.credit_us > LIMITER_CREDIT_US:
        a.limit.credit_us = LIMITER_CREDIT_US
    if a.limit.credit_us <= 0:
        return
    there = rt_os_private_bytes(a.arena.page_bytes)
    if there < target:
        # The rest of the estimate is not touched.
        limiter_rest(a, now, all + (target - there))
        return
    rt_store_relaxed_u64(&a.limit.rounds, a.limit.rounds + 1)
    limiter_tell(a, now)
    if not limiter_give(a, target, began + (a.limit.credit_us if a.limit.credit_us < LIMITER_VISIT_US else LIMITER_VISIT_US)):
        limiter_rest(a, now, ~<uint64_t>0)
    ended = <int64_t>rt_os_clock_us()
    a.limit.credit_us -= ended - began
    rt_store_relaxed_u64(&a.limit.spent_us, a.limit.spent_us + <uint64_t>(ended - began))


cdef inline cold_void limiter_look(Allocator* a, uint64_t now, uint64_t more) noexcept nogil:
    # There is a limit, and `more` bytes are about to be taken.
    cdef uint64_t limit = limiter_soft(a, now)
    cdef uint64_t near = limit - limit // LIMITER_NEAR_PART
    cdef uint64_t all = limit_resident(a) + more
    cdef uint32_t idle = 0
    if limit == 0 or all <= near:
        return
    purge_hurry(a, now + LIMITER_TELL_MS)
    if all <= limit or now < rt_load_relaxed_u64(&a.limit.rest_until) and all < rt_load_relaxed_u64(&a.limit.rest_below):
        return
    if not rt_swap_if_u32(&a.limit.busy, &idle, 1):
        return
    limiter_work(a, now, near - more if near > more else 0, all)
    rt_store_release_u32(&a.limit.busy, 0)


cdef inline void limiter_tick(Allocator* a, uint64_t now) noexcept nogil:
    # Somebody comes by, holding nothing.
    if a.options.value[RT_OPTION_memory_limit] != 0:
        limiter_look(a, now, 0)


cdef inline void limiter_before(Allocator* a, uint64_t bytes) noexcept nogil:
    # Before so many bytes are taken at a time.
    if a.options.value[RT_OPTION_memory_limit] != 0:
        limiter_look(a, rt_os_clock_ms(), bytes)


cdef inline void limiter_forget(Allocator* a) noexcept nogil:
    # In a fork child: who was at it stayed behind.
    a.limit.busy = 0
