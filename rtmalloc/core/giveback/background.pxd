# The background thread: purges when nobody calls us, and follows when the kernel says that memory is short. Without it a
# process gives memory back while some thread still allocates now and then; one that stops altogether keeps what it had.
# Opt-in (the Python launcher opts in), started only once there is memory worth it, and it ends when nothing is left to do;
# the next heartbeat starts another.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_exchange_u32, rt_load_relaxed_u32, rt_load_u32, rt_store_relaxed_u32, rt_store_u32, rt_swap_if_u32,
)
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.heaps.heap cimport Heap
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.base.options cimport (
    RT_OPTION_background_thread, RT_OPTION_dirty_decay_ms, RT_OPTION_pressure, RT_OPTION_pressure_stall_ms,
)
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.base.platform cimport (
    rt_os_clock_ms, rt_os_futex_wake, rt_os_thread_id, rt_os_thread_is_gone, rt_os_yield,
)
from rtmalloc.core.giveback.pressure cimport (
    RT_PRESSURE_SOURCES, Pressure, pressure_alarm, rt_pressure_close, rt_pressure_look, rt_pressure_open,
    rt_pressure_source,
)
from rtmalloc.core.giveback.purge cimport Purge, purge_is_wanted, purge_work
from rtmalloc.core.giveback.scavenge cimport store_epoch
from rtmalloc.core.spans.store cimport Store

cdef extern from "giveback/background.h" nogil:
    ctypedef void* (*rt_thread_body)(void*) noexcept nogil
    int rt_thread_start(rt_thread_body body, void* argument) noexcept
    void rt_thread_name(const char* name) noexcept
    void rt_thread_sleep_ms(uint32_t* word, uint32_t seen, uint64_t ms) noexcept

cdef enum:
    BACKGROUND_SEGMENTS = 8    # 8 MiB in use: below that there is nothing worth a thread
    BACKGROUND_STEP_MS = 4     # between two parts of a pass
    BACKGROUND_LOOK_MS = 250   # between two looks at the sources of pressure, at most
    BACKGROUND_PATIENCE_MS = 20 # a fork waits so long for it to end
    BACKGROUND_CALM = 3        # passes without activity and without anything to give back, before it ends

    BACKGROUND_NONE = 0        # not started (or in a fork child: gone)
    BACKGROUND_RUNS = 1
    BACKGROUND_ENDS = 2        # asked to end, by a fork
    BACKGROUND_FAILED = 3      # could not be started: not tried again

cdef struct Background:
    uint32_t state             # BACKGROUND_*; the thread sleeps on it
    uint32_t stirred           # 1: some thread has ticked since the background thread last looked
    uint32_t tid               # of the thread, 0 before it has begun
    uint32_t watched           # RT_PRESSURE_* bits of the sources that it watches now, 0 when it does not run
    bint opened                # whether they have been opened (the thread's alone, as they are): tried once
    uint64_t pass_at           # clock, in ms, of the next pass as the thread last saw it (the thread's alone)
    rt_pressure_source sources[RT_PRESSURE_SOURCES]
    Store* store
    Purge* purge
    Pressure* pressure


cdef inline bint background_has_purpose(Background* b) noexcept nogil:
    # Whether the options give the thread something to do: purge by time, or flush under pressure.
    return b.store.options.value[RT_OPTION_background_thread] != 0 and (
        b.store.options.value[RT_OPTION_dirty_decay_ms] >= 0 or b.store.options.value[RT_OPTION_pressure] != 0
    )


cdef inline bint background_keeps_watch(Background* b) noexcept nogil:
    # Where nothing is purged by time, the free memory itself is what the thread stays for: as long as there is some, and a
    # thread of the program's.
    cdef uint32_t id
    cdef uint64_t dirty
    if b.store.options.value[RT_OPTION_dirty_decay_ms] >= 0 or not b.watched:
        return False
    lock_take(&b.store.arena.pages.lock)
    dirty = b.store.arena.pages.dirty_slices
    lock_drop(&b.store.arena.pages.lock)
    if dirty == 0:
        return False
    for id in range(1, rt_load_relaxed_u32(&b.store.heap_count) + 1):
        if rt_load_relaxed_u32(&(<Heap*>b.store.heaps[id]).live):
            return True
    return False


cdef inline void background_watch(Background* b) noexcept nogil:
    # Look at the sources of pressure, without waiting, and follow what they say. They stay open when the thread ends, for
    # the next one: closing a PSI trigger makes the kernel wait for all CPUs (10 ms), and a fork would wait for that.
    cdef int i
    cdef uint32_t kinds = 0
    cdef bint wanted = b.store.options.value[RT_OPTION_pressure] != 0
    for i in range(RT_PRESSURE_SOURCES):
        if not wanted:
            rt_pressure_close(&b.sources[i])
        kinds |= b.sources[i].kind
    if wanted and not kinds and not b.opened:
        kinds = rt_pressure_open(b.sources, <uint64_t>b.store.options.value[RT_OPTION_pressure_stall_ms])
    b.opened = wanted
    rt_store_relaxed_u32(&b.watched, kinds)
    if kinds and rt_pressure_look(b.sources, NULL, 0):
        pressure_alarm(b.store, b.purge, b.pressure, NULL)


cdef inline uint64_t background_step(Background* b, uint64_t now, uint64_t* given) noexcept nogil:
    # One part of a pass, if nobody else is at it. Returns the clock of the next part; *given is what all passes have given
    # back so far, and stays when a pass is under way.
    cdef uint64_t next = now + BACKGROUND_STEP_MS
    store_epoch(b.store, NULL, now)
    if not purge_is_wanted(b.store, b.purge, now):
        b.pass_at = now + BACKGROUND_LOOK_MS
        return b.pass_at
    if lock_try(&b.purge.lock):
        if now >= b.purge.pass_at or b.purge.cursor < page_heap_opened(&b.store.arena.pages):
            purge_work(b.store, b.purge, NULL, now)
        if b.purge.cursor >= page_heap_opened(&b.store.arena.pages):
            given[0] = b.purge.slices + b.purge.spans.bytes
            b.pass_at = b.purge.pass_at
            if b.pass_at > next:
                next = b.pass_at
        lock_drop(&b.purge.lock)
    if b.watched and next > now + BACKGROUND_LOOK_MS:
        next = now + BACKGROUND_LOOK_MS
    return next


cdef inline bint background_ends(Background* b) noexcept nogil:
    # Nothing is left to do: the thread ends, so that a process whose own threads have all ended can end as well. Unless
    # somebody ticked just now, and no other background thread was started for it.
    cdef uint32_t seen = BACKGROUND_RUNS
    rt_store_relaxed_u32(&b.watched, 0)
    if not rt_swap_if_u32(&b.state, &seen, BACKGROUND_NONE):
        # A fork asks for the end.
        rt_store_u32(&b.state, BACKGROUND_NONE)
        return True
    seen = BACKGROUND_NONE
    return not rt_load_u32(&b.stirred) or not rt_swap_if_u32(&b.state, &seen, BACKGROUND_RUNS)


cdef inline void* background_body(void* argument) noexcept nogil:
    cdef Background* b = <Background*>argument
    cdef uint64_t now, next
    cdef uint64_t given = 0
    cdef uint64_t given_before = 0
    cdef uint64_t counted = 0   # the clock up to which calm passes are counted
    cdef uint32_t calm = 0
    rt_store_relaxed_u32(&b.tid, rt_os_thread_id())
    rt_thread_name(b"rtmalloc")
    while rt_load_relaxed_u32(&b.state) == BACKGROUND_RUNS:
        now = rt_os_clock_ms()
        background_watch(b)
        next = background_step(b, now, &given)
        if next - now > BACKGROUND_STEP_MS and now >= counted:
            # Between two passes; looks at the sources in between do not count as such.
            counted = b.pass_at
            if rt_exchange_u32(&b.stirred, 0) or given != given_before:
                calm = 0
            else:
                calm += 1
            given_before = given
            if calm >= BACKGROUND_CALM and not background_keeps_watch(b):
                if background_ends(b):
                    return NULL
                # Others may have run and ended between.
                rt_store_relaxed_u32(&b.tid, rt_os_thread_id())
                calm = 0
        rt_thread_sleep_ms(&b.state, BACKGROUND_RUNS, next - now)
    # A fork has asked.
    rt_store_relaxed_u32(&b.watched, 0)
    rt_store_u32(&b.state, BACKGROUND_NONE)
    return NULL


cdef inline bint background_stop(Background* b) noexcept nogil:
    # Before a fork, holding nothing: end the thread, so that the program forks with its own threads alone (CPython warns
    # of others from 3.12 on). One that is in the middle of a long purge is not waited for: it ends later. Whether it ran.
    cdef uint32_t seen = BACKGROUND_RUNS
    cdef uint64_t patience = rt_os_clock_ms() + BACKGROUND_PATIENCE_MS
    cdef uint32_t tid
    if rt_load_relaxed_u32(&b.state) != BACKGROUND_RUNS or not rt_swap_if_u32(&b.state, &seen, BACKGROUND_ENDS):
        return False
    rt_os_futex_wake(&b.state, 1)
    tid = rt_load_relaxed_u32(&b.tid)
    while (tid == 0 or not rt_os_thread_is_gone(tid)) and rt_os_clock_ms() < patience:
        rt_os_yield()
        tid = rt_load_relaxed_u32(&b.tid)
    return True


cdef inline void background_forget(Background* b) noexcept nogil:
    # In a fork child: the thread stayed behind, if it was not stopped before; the next tick starts one here.
    cdef int i
    b.state = BACKGROUND_NONE
    b.watched = 0
    b.opened = False
    for i in range(RT_PRESSURE_SOURCES):
        rt_pressure_close(&b.sources[i])


cdef inline cold_void background_start(Background* b) noexcept nogil:
    cdef uint32_t seen = BACKGROUND_NONE
    if not rt_swap_if_u32(&b.state, &seen, BACKGROUND_RUNS):
        return
    rt_store_relaxed_u32(&b.tid, 0)
    if rt_thread_start(background_body, b) != 0:
        rt_store_relaxed_u32(&b.state, BACKGROUND_FAILED)


cdef inline void background_tick(Background* b) noexcept nogil:
    # From a thread's heartbeat, holding nothing: start the background thread if the options want it and it does not run.
    if not background_has_purpose(b):
        return
    if rt_load_u32(&b.state) == BACKGROUND_NONE:
        if page_heap_opened(&b.store.arena.pages) >= BACKGROUND_SEGMENTS:
            background_start(b)
        return
    if not rt_load_relaxed_u32(&b.stirred):
        rt_store_u32(&b.stirred, 1)
