# A four-byte lock: spin a little, then sleep in the kernel.
# The locks that threads wait for are held for well under a microsecond, so sleeping pays only when the holder has lost
# its CPU. Once the allocator is open, two are held across a system call that may take long: the purge lock, which is only
# tried but for trim() and fork, and the lock of the list of heaps, while room for new ones is mapped.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_add_u64, rt_exchange_u32, rt_load_relaxed_u32, rt_store_relaxed_u32, rt_swap_if_u32,
)
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.platform cimport rt_cpu_relax, rt_os_futex_wait_ms, rt_os_futex_wake
from rtmalloc.core.types cimport Lock

cdef extern from "base/lock.h" nogil:
    bint rt_fork_is_mine() noexcept      # this thread is forking
    bint rt_fork_is_anyones() noexcept
    void rt_fork_begin() noexcept
    bint rt_fork_end() noexcept
    void rt_fork_forget() noexcept
    bint rt_fork_enter() noexcept
    bint rt_fork_leave() noexcept
    bint rt_fork_take_away() noexcept
    bint rt_fork_alone
    void rt_fork_give_up() noexcept
    void rt_mark_open() noexcept
    bint rt_mark_is_good() noexcept
    bint rt_mark_claim() noexcept
    void rt_mark_good() noexcept
    void rt_mend() noexcept
    uint64_t rt_lock_sleeps

cdef enum:
    LOCK_FREE = 0
    LOCK_HELD = 1
    LOCK_AWAITED = 2     # held, and somebody may be asleep
    LOCK_SLEEP_MS = 10   # then a thread that waits asks whether a fork keeps the lock
    LOCK_SPINS = 200     # about 2 us with the CPU's spin hint: longer than any holder that is running needs


cdef inline bint lock_is_forks() noexcept nogil:
    # This thread forks and so owns every lock: it has this one, to be dropped as any other.
    return rt_fork_is_mine() and rt_fork_enter()


cdef inline bint lock_sleep(Lock* lock) noexcept nogil:
    # Sleep until the lock is dropped, but not for long; True when the caller has it now. Whoever slept takes the lock as
    # AWAITED: it cannot know whether others still sleep.
    if rt_exchange_u32(&lock.word, LOCK_AWAITED) == LOCK_FREE:
        return True
    rt_add_u64(&rt_lock_sleeps, 1)
    rt_os_futex_wait_ms(&lock.word, LOCK_AWAITED, LOCK_SLEEP_MS)
    if rt_fork_is_anyones():
        rt_fork_give_up()
    return rt_exchange_u32(&lock.word, LOCK_AWAITED) == LOCK_FREE


cdef inline slow_void lock_wait(Lock* lock) noexcept nogil:
    cdef uint32_t seen
    cdef int i
    if lock_is_forks():
        return
    for i in range(LOCK_SPINS):
        if rt_load_relaxed_u32(&lock.word) == LOCK_FREE:
            seen = LOCK_FREE
            if rt_swap_if_u32(&lock.word, &seen, LOCK_HELD):
                return
        rt_cpu_relax()
    while not lock_sleep(lock):
        pass


cdef inline void lock_take(Lock* lock) noexcept nogil:
    cdef uint32_t seen = LOCK_FREE
    if not rt_mark_is_good():
        rt_mend()
    if not rt_swap_if_u32(&lock.word, &seen, LOCK_HELD):
        lock_wait(lock)


cdef inline bint lock_try(Lock* lock) noexcept nogil:
    cdef uint32_t seen = LOCK_FREE
    if not rt_mark_is_good():
        rt_mend()
    return rt_swap_if_u32(&lock.word, &seen, LOCK_HELD)


cdef inline void lock_drop(Lock* lock) noexcept nogil:
    if rt_fork_is_mine() and rt_fork_leave():
        return
    if rt_exchange_u32(&lock.word, LOCK_FREE) == LOCK_AWAITED:
        rt_os_futex_wake(&lock.word, 1)


cdef inline void lock_renew(Lock* lock) noexcept nogil:
    # In a fork child: whoever held or awaited it in the parent does not exist here.
    rt_store_relaxed_u32(&lock.word, LOCK_FREE)
