# The background thread: purges when the program calls us no more, and follows pressure.
# Without it a process gives memory back while some thread still allocates now and then; one that stops altogether keeps
# what it had. By itself (background_thread=-1) it is started by the heartbeat that finds 8 MiB more to give back than the
# last thread left, sleeps while heartbeats come, purges when they stop, and ends when nothing is left to do. The Python
# launcher asks for one in any case (1), which also follows pressure.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base._options cimport (
    RT_OPTION_background_thread, RT_OPTION_dirty_decay_ms, RT_OPTION_heap_profile, RT_OPTION_heap_profile_signal,
    RT_OPTION_pressure, RT_OPTION_pressure_stall_ms,
)
from rtmalloc.core.base.atomics cimport (
    rt_add_u32, rt_exchange_u32, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_load_u32, rt_store_relaxed_u32,
    rt_store_relaxed_u64, rt_store_u32, rt_swap_if_u32,
)
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.config cimport RT_SLICE_SHIFT
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try, rt_mark_open
from rtmalloc.core.base.platform cimport (
    rt_os_clock_ms, rt_os_futex_wait_ms, rt_os_futex_wake, rt_os_process_id, rt_os_thread_id, rt_os_thread_is_gone,
    rt_os_yield,
)
from rtmalloc.core.giveback.pressure cimport pressure_alarm, rt_pressure_close, rt_pressure_look, rt_pressure_open
from rtmalloc.core.giveback.purge cimport purge_is_wanted, purge_work
from rtmalloc.core.giveback.shared_epoch cimport shared_epoch
from rtmalloc.core.heaps.heap_pool cimport heap_first
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.types cimport RT_PRESSURE_SOURCES, Allocator, Heap

cdef extern from "giveback/background.h" nogil:
    ctypedef void* (*rt_thread_body)(void*) noexcept nogil
    enum:
        RT_THREAD_STARTED
        RT_THREAD_REFUSED
    int rt_thread_start(rt_thread_body body, void* argument, uint32_t* tid) noexcept
    int rt_thread_is_welcome() noexcept
    bint rt_thread_is_alive() noexcept
    void rt_thread_settle() noexcept
    void rt_thread_forget() noexcept
    void rt_thread_name(const char* name, size_t length) noexcept
    void rt_heap_dump_wanted() noexcept

cdef enum:
    BACKGROUND_SEGMENTS = 8    # 8 MiB in use: below that there is nothing worth a thread
    BACKGROUND_WORTH = 8388608 # bytes to give back that are worth one by itself
    BACKGROUND_AUTO = -1       # background_thread: by itself
    BACKGROUND_PACE = 4        # an idle program waits for nobody: a pass goes on so many times as fast
    BACKGROUND_STEP_MS = 4     # between two parts of a pass
    BACKGROUND_LOOK_MS = 250   # between two looks at the sources of pressure, at most
    BACKGROUND_PATIENCE_MS = 1000 # who needs a process of the program's own threads waits so long for it to end
    BACKGROUND_YIELDS = 8      # that often without sleeping
    BACKGROUND_TRIES = 10      # a call that changes who the process is waits that often so long
    BACKGROUND_LEAVES_MS = 100 # from its last step to its end, where the kernel does not tell us of it
    BACKGROUND_STARTER_MS = 20 # from the decision to start one until it has a number
    BACKGROUND_LATER_MS = 200  # after a start that the kernel refused for now
    BACKGROUND_REST_MS = 500   # after a fork: what counts threads there shall not find a new one
    BACKGROUND_CALM = 3        # passes without activity and without anything to give back, before it ends

    BACKGROUND_NONE = 0        # not started (or in a fork child: gone)
    BACKGROUND_RUNS = 1
    BACKGROUND_ENDS = 2        # asked to end, by a fork
    BACKGROUND_FAILED = 3      # could not be started: not tried again


cdef inline bint background_writes(const Allocator* a) noexcept nogil:
    # Whether a signal may ask for the heap profile: the handler can only wake somebody who may wait for locks.
    return a.options.value[RT_OPTION_heap_profile_signal] != 0 and a.options.value[RT_OPTION_heap_profile] != 0


cdef inline bint background_has_purpose(Allocator* a) noexcept nogil:
    # Whether the options give the thread something to do: purge by time, flush under pressure, or write what is asked for.
    if background_writes(a):
        return True
    if a.options.value[RT_OPTION_dirty_decay_ms] >= 0:
        return a.options.value[RT_OPTION_background_thread] != 0
    return a.options.value[RT_OPTION_background_thread] == 1 and a.options.value[RT_OPTION_pressure] != 0


cdef inline uint64_t background_free(Allocator* a) noexcept nogil:
    # Free bytes that may be resident, in spans and outside; an estimate: neither is read under its lock.
    cdef int64_t inside = <int64_t>rt_load_relaxed_u64(&a.background.inside)
    return <uint64_t>(inside if inside > 0 else 0) + (rt_load_relaxed_u64(&a.arena.pages.dirty_slices) << RT_SLICE_SHIFT)


cdef inline bint background_is_worth_it(Allocator* a) noexcept nogil:
    # Whether BACKGROUND_WORTH more is free than at any time since the last thread ended: what that one has left it could not
    # give back. (Two threads that lower `settled` at a time may leave the higher value: a thread comes later, not never.)
    cdef uint64_t free = background_free(a)
    if free < rt_load_relaxed_u64(&a.background.settled):
        rt_store_relaxed_u64(&a.background.settled, free)
    return free - rt_load_relaxed_u64(&a.background.settled) >= BACKGROUND_WORTH and free >= BACKGROUND_WORTH


cdef inline bint background_sleeps(Allocator* a) noexcept nogil:
    # By itself the thread leaves everything to the heartbeats, as long as they come.
    return a.options.value[RT_OPTION_background_thread] == BACKGROUND_AUTO and rt_exchange_u32(&a.background.stirred, 0) != 0


cdef inline bint background_keeps_watch(Allocator* a) noexcept nogil:
    # Where nothing is purged by time, the free memory itself is what the thread stays for: as long as there is some, and a
    # thread of the program's.
    cdef Heap* h = heap_first(a)
    cdef uint64_t dirty
    if a.options.value[RT_OPTION_dirty_decay_ms] >= 0 or not a.background.watched:
        return False
    lock_take(&a.arena.pages.lock)
    dirty = a.arena.pages.dirty_slices
    lock_drop(&a.arena.pages.lock)
    if dirty == 0:
        return False
    while h != NULL and not rt_load_relaxed_u32(&h.live):
        h = h.next
    return h != NULL


cdef inline void background_watch(Allocator* a) noexcept nogil:
    # Look at the sources of pressure, without waiting, and follow what they say. They stay open when the thread ends, for
    # the next one: closing a PSI trigger makes the kernel wait for all CPUs (10 ms), and a fork would wait for that.
    cdef int i
    cdef uint32_t kinds = 0
    cdef bint wanted = a.options.value[RT_OPTION_pressure] != 0 and a.options.value[RT_OPTION_background_thread] == 1
    for i in range(RT_PRESSURE_SOURCES):
        if not wanted:
            rt_pressure_close(&a.background.sources[i])
        kinds |= a.background.sources[i].kind
    if wanted and not a.background.opened:
        kinds = rt_pressure_open(a.background.sources, <uint64_t>a.options.value[RT_OPTION_pressure_stall_ms])
    a.background.opened = wanted
    rt_store_relaxed_u32(&a.background.watched, kinds)
    if kinds and rt_pressure_look(a.background.sources, NULL, 0):
        pressure_alarm(a, NULL)


cdef inline uint64_t background_step(Allocator* a, uint64_t now, uint64_t* given) noexcept nogil:
    # One part of a pass, if nobody else is at it. Returns the clock of the next part; *given is what all passes have given
    # back so far, and stays when a pass is under way.
    cdef uint64_t next = now + BACKGROUND_STEP_MS
    shared_epoch(a, now)
    if not purge_is_wanted(a, now):
        a.background.pass_at = now + BACKGROUND_LOOK_MS
        return a.background.pass_at
    if lock_try(&a.purge.lock):
        if now >= a.purge.pass_at or a.purge.cursor < page_heap_opened(&a.arena.pages):
            purge_work(a, now, BACKGROUND_PACE if a.options.value[RT_OPTION_background_thread] == BACKGROUND_AUTO else 1)
        if a.purge.cursor >= page_heap_opened(&a.arena.pages):
            given[0] = a.purge.slices + a.purge.spans.bytes
            a.background.pass_at = a.purge.pass_at
            if a.background.pass_at > next:
                next = a.background.pass_at
        lock_drop(&a.purge.lock)
    if a.background.watched and next > now + BACKGROUND_LOOK_MS:
        next = now + BACKGROUND_LOOK_MS
    return next


cdef inline bint background_ends(Allocator* a) noexcept nogil:
    # Nothing is left to do: the thread ends, so that a process whose own threads have all ended can end as well. Unless
    # somebody ticked just now, and no other background thread was started for it.
    cdef uint32_t seen = BACKGROUND_RUNS
    rt_store_relaxed_u32(&a.background.watched, 0)
    rt_store_relaxed_u64(&a.background.settled, background_free(a))
    if not rt_swap_if_u32(&a.background.state, &seen, BACKGROUND_NONE):
        # A fork asks for the end.
        rt_store_u32(&a.background.state, BACKGROUND_NONE)
        return True
    seen = BACKGROUND_NONE
    return not rt_load_u32(&a.background.stirred) or rt_load_u32(&a.background.held) or not rt_swap_if_u32(&a.background.state, &seen, BACKGROUND_RUNS)


cdef inline void* background_body(void* argument) noexcept nogil:
    cdef Allocator* a = <Allocator*>argument
    cdef uint64_t now, next
    cdef uint64_t given = 0
    cdef uint64_t given_before = 0
    cdef uint64_t counted = 0   # the clock up to which calm passes are counted
    cdef uint32_t calm = 0
    rt_store_relaxed_u32(&a.background.tid, rt_os_thread_id())
    rt_thread_name(b"rtmalloc", 8)
    rt_thread_settle()
    while rt_load_relaxed_u32(&a.background.state) == BACKGROUND_RUNS:
        now = rt_os_clock_ms()
        if background_writes(a):
            rt_heap_dump_wanted()
        if background_sleeps(a):
            calm = 0
            rt_os_futex_wait_ms(&a.background.state, BACKGROUND_RUNS, <uint64_t>a.options.value[RT_OPTION_dirty_decay_ms])
            continue
        background_watch(a)
        next = background_step(a, now, &given)
        if next - now > BACKGROUND_STEP_MS and now >= counted:
            # Between two passes; looks at the sources in between do not count as such.
            counted = a.background.pass_at
            if rt_exchange_u32(&a.background.stirred, 0) or given != given_before:
                calm = 0
            else:
                calm += 1
            given_before = given
            if calm >= BACKGROUND_CALM and not background_keeps_watch(a) and not background_writes(a):
                if background_ends(a):
                    return NULL
                # Others may have run and ended between.
                rt_store_relaxed_u32(&a.background.tid, rt_os_thread_id())
                calm = 0
        rt_os_futex_wait_ms(&a.background.state, BACKGROUND_RUNS, next - now)
    # A fork has asked.
    rt_store_relaxed_u32(&a.background.watched, 0)
    rt_store_u32(&a.background.state, BACKGROUND_NONE)
    return NULL


cdef inline void background_rest(Allocator* a) noexcept nogil:
    # Before a fork and behind it, which may take long: start no other one soon.
    if rt_load_relaxed_u32(&a.background.begun):
        rt_store_relaxed_u64(&a.background.rests_until, rt_os_clock_ms() + BACKGROUND_REST_MS)


cdef inline bint background_is_ours "rt_background_is_ours"() noexcept nogil:
    # False in a child of vfork, and in one that clone has made: the state is the parent's, or of a thread that is not there.
    return rt_os_process_id() == allocator().background.process


cdef inline bint background_stop(Allocator* a) noexcept nogil:
    # Holding nothing: end the thread, and wait until the kernel has forgotten it, for up to a second. A program forks with
    # its own threads alone (CPython warns of others from 3.12 on, which it counts behind the fork's handlers). Whether it ran.
    if rt_load_u32(&a.background.state) != BACKGROUND_RUNS and rt_load_relaxed_u32(&a.background.tid) == 0:
        return False
    if not background_is_ours():
        return False
    background_await(a, rt_os_clock_ms())
    return True


cdef inline bint background_lingers(Allocator* a, uint64_t waited) noexcept nogil:
    # Whether the thread, asked to end, is still there after so many ms. Its number may be another one's by now, it may have
    # been killed, and in the state ENDS somebody may still be about to start it: hence the limits.
    cdef uint32_t seen = BACKGROUND_RUNS
    cdef uint32_t tid = rt_load_relaxed_u32(&a.background.tid)
    cdef bint gone = tid == 0 or rt_os_thread_is_gone(tid)
    if rt_swap_if_u32(&a.background.state, &seen, BACKGROUND_ENDS):
        rt_os_futex_wake(&a.background.state, 1)
        return True
    if seen == BACKGROUND_ENDS and not (gone and waited >= BACKGROUND_STARTER_MS):
        return waited < BACKGROUND_PATIENCE_MS
    if seen == BACKGROUND_ENDS:
        rt_swap_if_u32(&a.background.state, &seen, BACKGROUND_NONE)
    if not gone and waited < (BACKGROUND_PATIENCE_MS if rt_thread_is_alive() else BACKGROUND_LEAVES_MS):
        return True
    # The program's next thread may get its number.
    rt_swap_if_u32(&a.background.tid, &tid, 0)
    return False


cdef inline void background_await(Allocator* a, uint64_t began) noexcept nogil:
    # On a busy machine it may be long until the thread runs: who waits sleeps.
    cdef uint32_t yields = 0
    while background_lingers(a, rt_os_clock_ms() - began):
        yields += 1
        if yields > BACKGROUND_YIELDS:
            rt_os_futex_wait_ms(&a.background.tid, rt_load_relaxed_u32(&a.background.tid), 1)
        else:
            rt_os_yield()


cdef inline bint background_is_gone(Allocator* a) noexcept nogil:
    # Whether the kernel has no thread of ours in this process (any more).
    cdef uint32_t tid = rt_load_relaxed_u32(&a.background.tid)
    cdef uint32_t state = rt_load_u32(&a.background.state)
    if tid == 0:
        return state != BACKGROUND_RUNS and state != BACKGROUND_ENDS
    return rt_os_thread_is_gone(tid)


cdef inline cold_void background_hold "rt_background_hold"() noexcept nogil:
    # What follows wants no thread of ours, and none is started until background_release.
    cdef Allocator* a = allocator()
    cdef int tries = BACKGROUND_TRIES
    rt_add_u32(&a.background.held, 1)
    while background_stop(a) and tries and not background_is_gone(a):
        tries -= 1


cdef inline cold_void background_release "rt_background_release"() noexcept nogil:
    rt_add_u32(&allocator().background.held, 0xFFFFFFFF)


cdef inline cold_void background_refuse "rt_background_refuse"() noexcept nogil:
    # No other one is started, in children neither.
    cdef uint32_t seen = BACKGROUND_NONE
    rt_swap_if_u32(&allocator().background.state, &seen, BACKGROUND_FAILED)


cdef inline void background_leave(Allocator* a) noexcept nogil:
    # A thread of the program's has ended. Was it the last one that had a heap, the background thread follows at once: the
    # process ends with its last thread.
    cdef uint32_t seen = BACKGROUND_RUNS
    cdef bint last
    if rt_load_relaxed_u32(&a.background.state) != BACKGROUND_RUNS:
        return
    lock_take(&a.heaps_lock)
    last = a.threads_started == a.threads_ended
    lock_drop(&a.heaps_lock)
    if last and rt_swap_if_u32(&a.background.state, &seen, BACKGROUND_ENDS):
        rt_os_futex_wake(&a.background.state, 1)


cdef inline void background_forget(Allocator* a) noexcept nogil:
    # In a fork child: the thread stayed behind, if it was not stopped before; the next tick starts one here. It closes the
    # parent's descriptors when it opens its own.
    if a.background.state != BACKGROUND_FAILED:
        # (After a failure, as behind a filter of system calls, no question about it is left.)
        a.background.state = BACKGROUND_NONE
        a.background.process = rt_os_process_id()
    a.background.watched = 0
    a.background.tid = 0
    a.background.held = 0
    a.background.rests_until = 0
    # What is free is shared with the parent: to give it back saves nothing.
    a.background.settled = background_free(a)
    rt_thread_forget()
    a.background.opened = False


cdef inline cold_void background_start(Allocator* a) noexcept nogil:
    # Holding nothing of ours; the caller of free may hold locks of the C library's (background.h). The increment of `held`
    # and the look at `state` in background_hold, and these two the other way round, are sequentially consistent.
    cdef uint32_t seen = BACKGROUND_NONE
    cdef int answer = RT_THREAD_REFUSED
    if not background_is_ours() or not rt_swap_if_u32(&a.background.state, &seen, BACKGROUND_RUNS):
        return
    rt_store_relaxed_u32(&a.background.tid, 0)
    if rt_load_u32(&a.background.held):
        rt_store_u32(&a.background.state, BACKGROUND_NONE)
        return
    rt_store_relaxed_u32(&a.background.begun, 1)
    rt_mark_open()
    if a.options.value[RT_OPTION_background_thread] == BACKGROUND_AUTO:
        answer = rt_thread_is_welcome()
    else:
        answer = RT_THREAD_STARTED
    if answer == RT_THREAD_STARTED:
        rt_store_u32(&a.background.stirred, 1)
        answer = rt_thread_start(background_body, a, &a.background.tid)
    if answer != RT_THREAD_STARTED:
        rt_store_relaxed_u64(&a.background.rests_until, rt_os_clock_ms() + BACKGROUND_LATER_MS)
        rt_store_u32(&a.background.state, BACKGROUND_FAILED if answer == RT_THREAD_REFUSED else BACKGROUND_NONE)


cdef inline void background_clear(Allocator* a) noexcept nogil:
    # The thread has ended by itself: forget its number once the kernel has, before another thread gets it.
    cdef uint32_t tid = rt_load_relaxed_u32(&a.background.tid)
    if tid and rt_os_thread_is_gone(tid):
        rt_swap_if_u32(&a.background.tid, &tid, 0)


cdef inline bint background_is_due(Allocator* a) noexcept nogil:
    # Whether there is enough to do for one: what a signal may ask for, enough memory in use, or, by itself, enough to give back.
    if background_writes(a):
        return True
    if a.options.value[RT_OPTION_background_thread] == BACKGROUND_AUTO:
        return background_is_worth_it(a)
    return page_heap_opened(&a.arena.pages) >= BACKGROUND_SEGMENTS


cdef inline void background_tick(Allocator* a) noexcept nogil:
    # From a thread's heartbeat, holding nothing: start the background thread if the options want it and it does not run.
    if not background_has_purpose(a):
        return
    if rt_load_u32(&a.background.state) == BACKGROUND_NONE:
        if rt_load_relaxed_u32(&a.background.tid):
            background_clear(a)
        if background_is_due(a) and rt_os_clock_ms() >= rt_load_relaxed_u64(&a.background.rests_until):
            background_start(a)
        return
    if not rt_load_relaxed_u32(&a.background.stirred):
        rt_store_u32(&a.background.stirred, 1)
