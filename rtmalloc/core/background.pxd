# The background thread: purges when nobody calls us. Without it a process gives memory back while some thread still
# allocates now and then; one that stops altogether keeps what it had. Opt-in (the Python launcher opts in), started only
# once there is memory worth it, and it ends when nothing is left to do; the next heartbeat starts another.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.atomics cimport (
    rt_exchange_u32, rt_load_relaxed_u32, rt_load_u32, rt_store_relaxed_u32, rt_store_u32, rt_swap_if_u32,
)
from rtmalloc.core.attributes cimport cold_void
from rtmalloc.core.lock cimport lock_drop, lock_try
from rtmalloc.core.options cimport RT_OPTION_background_thread, RT_OPTION_dirty_decay_ms
from rtmalloc.core.page_heap cimport page_heap_opened
from rtmalloc.core.platform cimport rt_os_clock_ms
from rtmalloc.core.purge cimport Purge, purge_work
from rtmalloc.core.scavenge cimport store_epoch
from rtmalloc.core.store cimport Store

cdef extern from "background.h" nogil:
    ctypedef void* (*rt_thread_body)(void*) noexcept nogil
    int rt_thread_start(rt_thread_body body, void* argument) noexcept
    void rt_thread_name(const char* name) noexcept
    void rt_thread_sleep_ms(uint64_t ms) noexcept

cdef enum:
    BACKGROUND_SEGMENTS = 4    # 8 MiB in use: below that there is nothing worth a thread
    BACKGROUND_STEP_MS = 4     # between two parts of a pass
    BACKGROUND_CALM = 3        # passes without activity and without anything to give back, before it ends

    BACKGROUND_NONE = 0        # not started (or in a fork child: gone)
    BACKGROUND_RUNS = 1
    BACKGROUND_FAILED = 2      # could not be started: not tried again

cdef struct Background:
    uint32_t state             # BACKGROUND_*
    uint32_t stirred           # 1: some thread has ticked since the background thread last looked
    Store* store
    Purge* purge


cdef inline uint64_t background_step(Background* b, uint64_t now, uint64_t* given) noexcept nogil:
    # One part of a pass, if nobody else is at it. Returns the clock of the next part; *given is what all passes have given
    # back so far, and stays when a pass is under way.
    cdef uint64_t next = now + BACKGROUND_STEP_MS
    store_epoch(b.store, NULL, now)
    if lock_try(&b.purge.lock):
        if now >= b.purge.pass_at or b.purge.cursor < page_heap_opened(&b.store.arena.pages):
            purge_work(b.store, b.purge, NULL, now)
        if b.purge.cursor >= page_heap_opened(&b.store.arena.pages):
            given[0] = b.purge.slices + b.purge.spans.bytes
            if b.purge.pass_at > next:
                next = b.purge.pass_at
        lock_drop(&b.purge.lock)
    return next


cdef inline bint background_ends(Background* b) noexcept nogil:
    # Nothing is left to do: the thread ends, so that a process whose own threads have all ended can end as well. Unless
    # somebody ticked just now, and no other background thread was started for it.
    cdef uint32_t seen = BACKGROUND_NONE
    rt_store_u32(&b.state, BACKGROUND_NONE)
    return not rt_load_u32(&b.stirred) or not rt_swap_if_u32(&b.state, &seen, BACKGROUND_RUNS)


cdef inline void* background_body(void* argument) noexcept nogil:
    cdef Background* b = <Background*>argument
    cdef uint64_t now, next
    cdef uint64_t given = 0
    cdef uint64_t given_before = 0
    cdef uint32_t calm = 0
    rt_thread_name(b"rtmalloc")
    while rt_load_relaxed_u32(&b.state) == BACKGROUND_RUNS:
        now = rt_os_clock_ms()
        next = background_step(b, now, &given)
        if next - now > BACKGROUND_STEP_MS:
            # Between two passes.
            if rt_exchange_u32(&b.stirred, 0) or given != given_before:
                calm = 0
            else:
                calm += 1
            given_before = given
            if calm >= BACKGROUND_CALM:
                if background_ends(b):
                    break
                calm = 0
        rt_thread_sleep_ms(next - now)
    return NULL


cdef inline cold_void background_start(Background* b, Store* store, Purge* purge) noexcept nogil:
    cdef uint32_t seen = BACKGROUND_NONE
    if not rt_swap_if_u32(&b.state, &seen, BACKGROUND_RUNS):
        return
    if rt_thread_start(background_body, b) != 0:
        rt_store_relaxed_u32(&b.state, BACKGROUND_FAILED)


cdef inline void background_tick(Background* b, Store* store, Purge* purge) noexcept nogil:
    # From a thread's heartbeat, holding nothing: start the background thread if the options want it and it does not run.
    if store.options.value[RT_OPTION_background_thread] == 0 or store.options.value[RT_OPTION_dirty_decay_ms] < 0:
        return
    if rt_load_u32(&b.state) == BACKGROUND_NONE:
        if page_heap_opened(&store.arena.pages) >= BACKGROUND_SEGMENTS:
            background_start(b, store, purge)
        return
    if not rt_load_relaxed_u32(&b.stirred):
        rt_store_u32(&b.stirred, 1)
