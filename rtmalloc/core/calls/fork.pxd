# fork: the parent takes every lock; the child, alone now, takes over what other threads had.
#
# A fork stops the parent's other threads between any two instructions. What they have under locks is whole, because the
# handler takes every lock first. What they own privately is not trusted in the child, except where one store at a time
# keeps it whole: bitmaps and tags, and the bins, whose entries are written before the top that reaches them (each entry is
# checked all the same). May leak in the child, and only there: what other threads had gathered to send home (at most 256
# objects each), objects that they had just claimed or taken from a bin, and a span that one of them was forming or
# releasing at that instant.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.alternatives.cpu_heap cimport cpu_heap_here
from rtmalloc.core.alternatives.percpu cimport CACHES_CPU, RT_PERCPU_BUILT, percpu_mode, percpu_serves
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.config cimport RT_CHECK
from rtmalloc.core.base.lock cimport (
    lock_drop, lock_renew, lock_try, rt_fork_alone, rt_fork_begin, rt_fork_end, rt_fork_forget, rt_fork_is_mine,
    rt_fork_take_away, rt_mark_claim, rt_mark_good, rt_mend,
)
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_yield, rt_thread_is_first
from rtmalloc.core.base.size_class cimport rt_class_count
from rtmalloc.core.calls.check cimport check_shared
from rtmalloc.core.calls.mend cimport mend_everything
from rtmalloc.core.giveback.background cimport background_forget, background_is_gone, background_rest, background_stop
from rtmalloc.core.giveback.limiter cimport limiter_forget
from rtmalloc.core.heaps.bin cimport bin_entry_span, bin_floor, bins_open
from rtmalloc.core.heaps.heap_pool cimport heap_first
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.heaps.sample cimport sample_renew
from rtmalloc.core.heaps.thread cimport thread_heap_or_null
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.pages.segment cimport SEGMENT_ACCESSIBLE, SEGMENT_SLICES
from rtmalloc.core.pages.tag cimport tag_class, tag_is_small, tag_of_class, tag_of_slice
from rtmalloc.core.profile.heap_profile cimport heap_profile_fork_child
from rtmalloc.core.spans.inherited cimport inherited_begin
from rtmalloc.core.spans.shelf cimport shelf_of, shelf_put, shelf_read_hints, shelf_take_over
from rtmalloc.core.spans.span cimport SPAN_HELD, span_is_complete
from rtmalloc.core.types cimport TRANSFER_LENGTHS, Allocator, Heap, Lock, Span

cdef extern from "calls/fork.h" nogil:
    ctypedef void (*rt_fork_handler)() noexcept nogil
    void rt_note_threads() noexcept
    bint rt_is_alone(bint had_background) noexcept
    void rt_streams_lock() noexcept
    void rt_streams_unlock() noexcept
    void rt_streams_reset() noexcept
    bint rt_had_threads() noexcept
    int rt_fork_handlers(rt_fork_handler prepare, rt_fork_handler parent, rt_fork_handler child) noexcept

cdef enum:
    FORK_BEAT = 256            # frees after a fork until the background thread is looked after
    FORK_TAKE = 0              # what fork_locks does: in the parent before the fork,
    FORK_DROP = 1              # ... in the parent behind it,
    FORK_RENEW = 2             # ... in the child
    FORK_UNDO = 3              # ... and where one of them cannot be had
    FORK_PATIENCE_MS = 1000    # for all of them


cdef struct Taking:
    uint64_t until             # clock, in ms, until which locks are waited for; 0 = one of them could not be had
    uint32_t taken             # how many were


cdef inline void fork_locks(Allocator* a, int what, Taking* t) noexcept nogil:
    # Every lock, outermost first: the order in which they nest anywhere. Taken, dropped, or renewed in the child (FORK_*).
    cdef Heap* h = heap_first(a)
    cdef uint32_t i, c
    fork_lock(&a.opening, what, t)
    fork_lock(&a.purge.lock, what, t)
    fork_lock(&a.heaps_lock, what, t)
    if RT_PERCPU_BUILT:
        while h != NULL:
            fork_lock(&h.turn, what, t)
            h = h.next
    for i in range(a.slot_count):
        for c in range(1, rt_class_count):
            fork_lock(&a.slots[i].shelves[c].lock, what, t)
    fork_lock(&a.profile.lock, what, t)
    for i in range(TRANSFER_LENGTHS):
        fork_lock(&a.transfer.lists[i].lock, what, t)
    fork_lock(&a.arena.pages.lock, what, t)
    fork_lock(&a.arena.tables_lock, what, t)
    fork_lock(&a.pressure.lock, what, t)


cdef inline void fork_read_hints(Allocator* a) noexcept nogil:
    # What was left for the holder of the shelves' locks meanwhile. Behind the last of them: a look may want another shelf.
    cdef uint32_t i, c
    for i in range(a.slot_count):
        for c in range(1, rt_class_count):
            shelf_read_hints(a, &a.slots[i].shelves[c], tag_of_class(a.slots[i].tag_base, c))


cdef inline bint fork_take(Allocator* a) noexcept nogil:
    # All locks, or none: one that cannot be had is the caller's own, who was interrupted in malloc by a signal and forks in its
    # handler although there are threads. Then the child mends itself.
    cdef Taking t
    t.until = rt_os_clock_ms() + FORK_PATIENCE_MS
    t.taken = 0
    fork_locks(a, FORK_TAKE, &t)
    if t.until:
        return True
    fork_locks(a, FORK_UNDO, &t)
    return False


cdef inline void fork_lock(Lock* lock, int what, Taking* t) noexcept nogil:
    if what == FORK_TAKE:
        while t.until and not lock_try(lock):
            rt_os_yield()
            if rt_os_clock_ms() > t.until:
                t.until = 0
        t.taken += t.until != 0
    elif what == FORK_UNDO:
        if t.taken:
            t.taken -= 1
            lock_drop(lock)
    elif what == FORK_DROP:
        lock_drop(lock)
    else:
        lock_renew(lock)


cdef inline void fork_prepare() noexcept nogil:
    global rt_fork_alone
    cdef Allocator* a = allocator()
    cdef Heap* h = <Heap*>cpu_heap_here() if RT_PERCPU_BUILT and percpu_serves() else thread_heap_or_null()
    background_rest(a)
    if background_stop(a) and h != NULL:
        # It starts anew soon after the fork, not at once: what counts threads then shall not find it.
        h.beat = FORK_BEAT
    if RT_PERCPU_BUILT:
        rt_note_threads()
    rt_fork_alone = background_is_gone(a) and rt_is_alone(a.background.begun != 0)
    if rt_fork_alone:
        return
    rt_streams_lock()
    if not fork_take(a):
        return
    # Handlers of libraries that registered before us run now, and may allocate.
    rt_fork_begin()


cdef inline void fork_parent() noexcept nogil:
    global rt_fork_alone
    background_rest(allocator())
    if rt_fork_alone:
        rt_fork_alone = False
        return
    if rt_fork_end():
        fork_locks(allocator(), FORK_DROP, NULL)
        fork_read_hints(allocator())
    rt_streams_unlock()


cdef inline cold_void fork_give_up "rt_fork_give_up"() noexcept nogil:
    # By a thread that has waited long for a lock: the forking thread may be waiting for it, in another library's handler.
    if rt_fork_take_away():
        fork_locks(allocator(), FORK_DROP, NULL)
        fork_read_hints(allocator())


cdef inline bint fork_is_orphan(const Heap* mine, const Heap* h) noexcept nogil:
    # Whether a heap belongs to a thread that does not exist in this process.
    return h.live and h.cpu == 0 and h != mine


cdef inline bint fork_has_orphans(Allocator* a, const Heap* mine) noexcept nogil:
    cdef Heap* h = heap_first(a)
    while h != NULL:
        if fork_is_orphan(mine, h):
            return True
        h = h.next
    return False


cdef inline void fork_settle_spans(Allocator* a) noexcept nogil:
    # A span that a lost thread held joins its shelf, if it is complete: then only that thread's state is missing.
    cdef uint64_t slice
    cdef uint64_t end = <uint64_t>page_heap_opened(&a.arena.pages) * SEGMENT_SLICES
    cdef uint32_t tag
    cdef Span* s
    for slice in range(end):
        if a.arena.pages.segments[slice // SEGMENT_SLICES].mapped != SEGMENT_ACCESSIBLE:
            continue
        tag = tag_of_slice(&a.arena, slice)
        s = &a.arena.spans[slice]
        if tag_is_small(tag) and s.index == slice and s.state == SPAN_HELD and span_is_complete(s, tag_class(tag)):
            shelf_take_over(a, shelf_of(a, tag), s)


cdef inline bint fork_give_entry(Allocator* a, void* p, uint32_t class_) noexcept nogil:
    # An entry of a lost thread's bin goes home; False when it is none that can be right.
    cdef uint32_t object_ = 0
    cdef Span* s = bin_entry_span(&a.arena, p, class_, &object_)
    if s == NULL:
        return False
    shelf_put(a, s, object_ >> 6, <uint64_t>1 << (object_ & 63))
    return True


cdef inline void fork_recycle_heap(Allocator* a, Heap* h) noexcept nogil:
    # A heap whose thread is gone: what its bins hold goes home, and it goes clean into the pool.
    cdef uint32_t c
    cdef void** cell
    for c in range(1, rt_class_count):
        cell = bin_floor(h, c)
        while cell < h.bins[c].top:
            cell += 1
            if cell[0] != NULL and not fork_give_entry(a, cell[0], c):
                break
    bins_open(h)
    h.home_count = 0
    h.live = 0
    h.pool_next = a.pool
    a.pool = h


cdef inline void fork_child() noexcept nogil:
    # Unless a handler that ran before this one has allocated: then all is done.
    global rt_fork_alone
    if rt_fork_alone:
        # Nothing was taken, and what the caller itself holds it drops.
        rt_fork_alone = False
        fork_child_begin(allocator())
        rt_mark_good()
        fork_child_samples(allocator())
        return
    rt_mend()
    rt_streams_reset()


cdef inline void fork_child_begin(Allocator* a) noexcept nogil:
    cdef Heap* mine = thread_heap_or_null()
    if mine != NULL:
        mine.tid = 0
    rt_thread_is_first()
    inherited_begin(a)
    background_forget(a)
    limiter_forget(a)
    # What wanted to hear of refusals is the parent's thread, and so is the pipe.
    a.pressure.wake.kind = 0


cdef inline void fork_child_samples(Allocator* a) noexcept nogil:
    # The profile begins anew; and the heartbeat, so that it is long until a background thread starts here.
    cdef Heap* mine = thread_heap_or_null()
    heap_profile_fork_child(a)
    if mine != NULL:
        sample_renew(mine)


cdef inline cold_void fork_mend "rt_mend"() noexcept nogil:
    # In a child, before anything takes a lock: by fork's handler, or, in a copy of the process that has no handlers, by the first
    # lock that is wanted there.
    cdef Allocator* a = allocator()
    cdef Heap* mine = thread_heap_or_null()
    cdef Heap* h = heap_first(a)
    cdef bint owned
    if not rt_mark_claim() and not rt_fork_is_mine():
        return
    owned = rt_fork_end()
    rt_fork_forget()
    fork_locks(a, FORK_RENEW, NULL)
    fork_child_begin(a)
    if not owned:
        mend_everything(a)
    fork_child_samples(a)
    if not owned or fork_has_orphans(a, mine) or (percpu_mode() == CACHES_CPU and rt_had_threads()):
        # Otherwise nothing was torn, and nothing needs to be looked at (or copied).
        if owned:
            fork_settle_spans(a)
        while h != NULL:
            if fork_is_orphan(mine, h):
                fork_recycle_heap(a, h)
            h = h.next
    rt_mark_good()
    fork_read_hints(a)
    if RT_CHECK:
        check_shared(a)


cdef inline void fork_register "rt_fork_register"() noexcept nogil:
    rt_fork_handlers(fork_prepare, fork_parent, fork_child)
