# The budget that all threads share, and what becomes of the part that sleeping threads have.
#
# A heap's bins are its thread's alone, so nobody can take objects or capacity from a thread that sleeps. What can be taken
# is its place in the account: `accounted` is exchanged for 0, and the thread that wants capacity gets it. The sleeper keeps
# bins and objects; when it ticks again it finds that its account does not cover its grants, and either has it covered, if
# there is room by then, or gives everything back. What is taken so is bounded by total_kib as well: all bins together never
# have more than twice that (and what thread_least_kib allows each).
#
# Why the equations of heap.pxd hold: every change of an `accounted` is one atomic step, and whoever makes it adds the same
# amount to cached_bytes; so cached_bytes is their sum, whatever interleaves. Only the thread itself changes granted_bytes,
# and adds the same amount to `accounted`, which may be negative meanwhile; so the difference is what was taken.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_add_u64, rt_exchange_u64, rt_load_acquire_u32, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_store_relaxed_u32,
    rt_swap_if_u64,
)
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.heaps.heap cimport Heap
from rtmalloc.core.base.options cimport (
    RT_OPTION_epoch_ms, RT_OPTION_idle_epochs, RT_OPTION_thread_kib, RT_OPTION_thread_least_kib, RT_OPTION_total_kib,
)
from rtmalloc.core.spans.store cimport Store

cdef enum:
    IDLE_HEAPS = 64            # heaps that one search looks at


cdef inline void heap_grant(Heap* h, int64_t bytes) noexcept nogil:
    # The heap's bins have got so much more capacity, or less.
    h.granted_bytes += bytes
    rt_add_u64(&h.accounted, <uint64_t>bytes)
    rt_add_u64(&h.store.cached_bytes, <uint64_t>bytes)


cdef inline int64_t heap_budget(Heap* h) noexcept nogil:
    # Bytes of capacity that the heap's bins may still be granted.
    cdef const int64_t* option = h.store.options.value
    cdef int64_t own = option[RT_OPTION_thread_kib] * 1024 - h.granted_bytes
    cdef int64_t all = option[RT_OPTION_total_kib] * 1024 - <int64_t>rt_load_relaxed_u64(&h.store.cached_bytes)
    cdef int64_t least = option[RT_OPTION_thread_least_kib] * 1024 - h.granted_bytes
    # However many threads there are, each may have its least: or those that come late would work without bins.
    if all < least:
        all = least
    return own if own < all else all


cdef inline int64_t heap_uncovered(const Heap* h) noexcept nogil:
    # Bytes of the heap's grants that somebody has taken off its account; for its own thread.
    return h.granted_bytes - <int64_t>rt_load_relaxed_u64(&h.accounted)


cdef inline bint heap_cover(Heap* h, bint at_all_cost) noexcept nogil:
    # The heap's thread is awake: put all its grants back on its account, if there is room (or `at_all_cost`). Whether its
    # account covers them.
    cdef uint64_t seen = rt_load_relaxed_u64(&h.accounted)
    cdef int64_t missing = h.granted_bytes - <int64_t>seen
    cdef int64_t room = (
        h.store.options.value[RT_OPTION_total_kib] * 1024 - <int64_t>rt_load_relaxed_u64(&h.store.cached_bytes)
    )
    if missing == 0:
        return True
    if missing > room and not at_all_cost:
        return False
    while not rt_swap_if_u64(&h.accounted, &seen, <uint64_t>h.granted_bytes):
        missing = h.granted_bytes - <int64_t>seen
    rt_add_u64(&h.store.cached_bytes, <uint64_t>missing)
    rt_add_u64(&h.store.taken_bytes, <uint64_t>-missing)
    return True


cdef inline cold_void budget_from_idle(Heap* h, int64_t wanted) noexcept nogil:
    # Take sleeping heaps' grants off their accounts until `wanted` bytes may be granted to h. A search without success is
    # not repeated in the same epoch of h. A heap sleeps when its thread has not ticked for as long as a bin may go unused.
    cdef Store* store = h.store
    cdef uint64_t idle_ms = <uint64_t>(
        store.options.value[RT_OPTION_epoch_ms] * store.options.value[RT_OPTION_idle_epochs]
    )
    cdef uint32_t count = rt_load_acquire_u32(&store.heap_count)
    cdef uint32_t id = rt_load_relaxed_u32(&store.idle_cursor)
    cdef uint32_t i
    cdef uint64_t taken
    cdef Heap* other
    if h.asked_at == h.epoch_at:
        return
    for i in range(count if count < IDLE_HEAPS else IDLE_HEAPS):
        if <int64_t>rt_load_relaxed_u64(&store.taken_bytes) >= store.options.value[RT_OPTION_total_kib] * 1024:
            break
        id = id + 1 if id < count else 1
        other = <Heap*>store.heaps[id]
        if other == h or not rt_load_relaxed_u32(&other.live):
            continue
        if rt_load_relaxed_u64(&other.ticked_at) + idle_ms >= h.ticked_at:
            continue
        if <int64_t>rt_load_relaxed_u64(&other.accounted) <= 0:
            continue
        taken = rt_exchange_u64(&other.accounted, 0)
        rt_add_u64(&store.cached_bytes, <uint64_t>-<int64_t>taken)
        rt_add_u64(&store.taken_bytes, taken)
        if heap_budget(h) >= wanted:
            rt_store_relaxed_u32(&store.idle_cursor, id)
            return
    h.asked_at = h.epoch_at
    rt_store_relaxed_u32(&store.idle_cursor, id)
