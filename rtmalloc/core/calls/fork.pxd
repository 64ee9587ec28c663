# fork: the parent stops everybody who holds a lock; the child, alone now, takes over what the other threads had.
#
# A fork stops the parent's other threads between any two instructions. What they have under locks is whole, because the
# handler takes every lock first. What they own privately is not trusted in the child, except where one store at a time
# keeps it whole: bitmaps and tags, and the chains of the bins (each link is checked). May leak in the child, and only
# there: the batches of excess and remote frees of threads that did not fork (at most 88 words of 64 objects each), the
# objects they had just taken from a bin, and a span that one of them was forming or releasing at that instant.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u8, rt_load_relaxed_u64, rt_store_relaxed_u8
from rtmalloc.core.giveback.background cimport background_forget, background_stop
from rtmalloc.core.heaps.budget cimport heap_cover
from rtmalloc.core.spans.central cimport CLASSES_MOST
from rtmalloc.core.heaps.cpu_heap cimport cpu_heap_here
from rtmalloc.core.heaps.heap cimport Heap, heap_span_settle
from rtmalloc.core.base.lock cimport lock_drop, lock_renew, lock_take, rt_fork_begin, rt_fork_end
from rtmalloc.core.spans.mailbox cimport mailbox_of, mailbox_open, mailbox_take
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.pages.pagemap cimport tag_class, tag_of_slice, tag_owner, tag_set
from rtmalloc.core.spans.object cimport Batch, batch_begin, object_locate
from rtmalloc.core.heaps.remote cimport span_put
from rtmalloc.core.profile.profile cimport profile_fork_child
from rtmalloc.core.heaps.sample cimport heap_sample_renew
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.heaps.percpu cimport CACHES_CPU, RT_PERCPU_BUILT, percpu_mode, percpu_serves
from rtmalloc.core.base.platform cimport rt_os_thread_id
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size, rt_class_slices
from rtmalloc.core.spans.span cimport Span
from rtmalloc.core.spans.store cimport Store, central_abandon, central_settle
from rtmalloc.core.heaps.thread cimport Allocator, allocator, heap_is_real, thread_heap
from rtmalloc.core.spans.transfer_cache cimport TRANSFER_LENGTHS

cdef extern from "calls/fork.h" nogil:
    ctypedef void (*rt_fork_handler)() noexcept nogil
    void rt_note_threads() noexcept
    bint rt_had_threads() noexcept
    int rt_fork_handlers(rt_fork_handler prepare, rt_fork_handler parent, rt_fork_handler child) noexcept

cdef enum:
    FORK_BEAT = 64             # frees after a fork until the background thread is looked after


cdef inline void fork_prepare() noexcept nogil:
    # Every lock, outermost first: the order in which they nest anywhere.
    cdef Allocator* a = allocator()
    cdef Heap* h = <Heap*>cpu_heap_here() if RT_PERCPU_BUILT and percpu_serves() else thread_heap()
    cdef uint32_t i
    if background_stop(&a.background) and h != NULL and heap_is_real(h) and h.beat > FORK_BEAT:
        # It starts anew soon after the fork, not at once: who counts threads then shall not find it.
        h.beat = FORK_BEAT
    lock_take(&a.opening)
    lock_take(&a.late_lock)
    lock_take(&a.purge.lock)
    lock_take(&a.heaps_lock)
    if RT_PERCPU_BUILT:
        for i in range(1, a.store.heap_count + 1):
            lock_take(&(<Heap*>a.store.heaps[i]).turn)
    for i in range(1, a.store.heap_count + 1):
        lock_take(&(<Heap*>a.store.heaps[i]).lock)
    for i in range(CLASSES_MOST):
        lock_take(&a.store.central[i].lock)
    lock_take(&a.store.profile.lock)
    for i in range(TRANSFER_LENGTHS):
        lock_take(&a.store.transfer.lists[i].lock)
    lock_take(&a.store.arena.pages.lock)
    lock_take(&a.pressure.lock)
    if RT_PERCPU_BUILT:
        rt_note_threads()
    # Handlers of libraries that registered before us run now, and may allocate.
    rt_fork_begin()


cdef inline void fork_parent() noexcept nogil:
    cdef Allocator* a = allocator()
    cdef uint32_t i
    rt_fork_end()
    lock_drop(&a.pressure.lock)
    lock_drop(&a.store.arena.pages.lock)
    for i in range(TRANSFER_LENGTHS):
        lock_drop(&a.store.transfer.lists[i].lock)
    lock_drop(&a.store.profile.lock)
    for i in range(CLASSES_MOST):
        lock_drop(&a.store.central[i].lock)
    for i in range(1, a.store.heap_count + 1):
        lock_drop(&(<Heap*>a.store.heaps[i]).lock)
    if RT_PERCPU_BUILT:
        for i in range(1, a.store.heap_count + 1):
            lock_drop(&(<Heap*>a.store.heaps[i]).turn)
    lock_drop(&a.heaps_lock)
    lock_drop(&a.purge.lock)
    lock_drop(&a.late_lock)
    lock_drop(&a.opening)


cdef inline bint heap_is_orphan(Allocator* a, const Heap* mine, uint32_t id) noexcept nogil:
    # Whether heap `id` belongs to a thread that does not exist in this process.
    cdef Heap* h = <Heap*>a.store.heaps[id]
    return h.live and h.cpu == 0 and h != mine and h != a.late


cdef inline bint fork_has_orphans(Allocator* a, const Heap* mine) noexcept nogil:
    cdef uint32_t i
    for i in range(1, a.store.heap_count + 1):
        if heap_is_orphan(a, mine, i):
            return True
    return False


cdef inline void fork_settle_spans(Allocator* a, Heap* mine) noexcept nogil:
    # Spans of threads that are gone become nobody's; all others are looked at, because the hints are lost.
    cdef Store* store = &a.store
    cdef uint64_t slice
    cdef uint64_t end = <uint64_t>page_heap_opened(&store.arena.pages) * SEGMENT_SLICES
    cdef uint32_t tag, owner, class_
    cdef Span* s
    for slice in range(end):
        if not store.arena.pages.segments[slice // SEGMENT_SLICES].mapped:
            continue
        tag = tag_of_slice(&store.arena, slice)
        class_ = tag_class(tag)
        s = &store.arena.spans[slice]
        if rt_load_relaxed_u8(&s.notified):
            # Only where it is set: the table's pages are shared with the parent until they are written.
            rt_store_relaxed_u8(&s.notified, 0)
        if class_ == 0 or class_ >= rt_class_count or s.index != slice:
            continue
        owner = tag_owner(tag)
        if owner == 0:
            central_settle(store, s, class_)
        elif mine != NULL and owner == mine.id:
            heap_span_settle(mine, s)
        elif a.late != NULL and owner == a.late.id:
            heap_span_settle(a.late, s)
        elif RT_PERCPU_BUILT and (<Heap*>store.heaps[owner]).cpu:
            heap_span_settle(<Heap*>store.heaps[owner], s)
        elif heap_is_orphan(a, mine, owner):
            if s.class_ == class_ and s.size == rt_class_size[class_] and s.slices == rt_class_slices[class_]:
                central_abandon(store, s)
            else:
                # Its owner was forming it: nobody has an object of it, and its slices leak.
                tag_set(&store.arena, <uint32_t>slice, rt_class_slices[class_], 0)


cdef inline void fork_empty_bins(Allocator* a, Heap* h) noexcept nogil:
    # Return what the bins of a heap without its thread hold. A chain that does not check out is left: it leaks.
    cdef uint32_t c
    cdef uint32_t object_ = 0
    cdef uint64_t slice
    cdef void* p
    cdef void* rest
    cdef bint fenced
    cdef Span* s
    cdef Batch batch
    for c in range(1, rt_class_count):
        p = h.bins[c].head
        h.bins[c].head = NULL
        while p != NULL or h.sources[c].fence != NULL:
            fenced = p == NULL
            if fenced:
                p = h.sources[c].fence
            slice = arena_slice_of(&a.store.arena, p)
            if slice >= rt_load_relaxed_u64(&a.store.arena.slice_count) or tag_class(tag_of_slice(&a.store.arena, slice)) != c:
                break
            s = object_locate(&a.store.arena, p, &object_)
            if s == NULL:
                break
            batch_begin(&batch, s, object_, c)
            if rt_load_relaxed_u64(&batch.span.bits[batch.word]) & batch.mask:
                break
            rest = (<void**>p)[0]
            if fenced:
                h.sources[c].fence = (<void**>p)[1]
            span_put(&a.store, NULL, &batch)
            p = rest


cdef inline void fork_recycle_heap(Allocator* a, Heap* h) noexcept nogil:
    # A heap whose thread is gone and whose spans are nobody's: clean it and put it into the pool.
    # What it was granted, wherever it is accounted for.
    h.granted_bytes = 0
    heap_cover(h, True)
    memset(h.bins, 0, sizeof(h.bins))
    memset(h.sources, 0, sizeof(h.sources))
    memset(h.remote, 0, sizeof(h.remote))
    h.owned = NULL
    h.sweep = NULL
    h.live = 0
    h.pool_next = a.pool
    a.pool = h


cdef inline void fork_child() noexcept nogil:
    cdef Allocator* a = allocator()
    cdef Heap* mine = thread_heap()
    cdef uint32_t i
    if not heap_is_real(mine):
        mine = NULL
    rt_fork_end()
    lock_renew(&a.pressure.lock)
    lock_renew(&a.store.arena.pages.lock)
    for i in range(TRANSFER_LENGTHS):
        lock_renew(&a.store.transfer.lists[i].lock)
    lock_renew(&a.store.profile.lock)
    for i in range(CLASSES_MOST):
        lock_renew(&a.store.central[i].lock)
    for i in range(1, a.store.heap_count + 1):
        lock_renew(&(<Heap*>a.store.heaps[i]).lock)
        lock_renew(&(<Heap*>a.store.heaps[i]).turn)
    lock_renew(&a.heaps_lock)
    lock_renew(&a.purge.lock)
    lock_renew(&a.late_lock)
    lock_renew(&a.opening)
    profile_fork_child(&a.store.profile)
    if mine != NULL:
        heap_sample_renew(mine)
    background_forget(&a.background)
    # Who wanted to hear of refusals is the parent's thread, and so is the pipe.
    a.pressure.wake.kind = 0
    if mine != NULL:
        mine.tid = rt_os_thread_id()
    if not fork_has_orphans(a, mine) and not (percpu_mode() == CACHES_CPU and rt_had_threads()):
        # The usual case: nothing was torn, and nothing needs to be looked at (or copied).
        return
    for i in range(1, a.store.heap_count + 1):
        if (<Heap*>a.store.heaps[i]).live:
            mailbox_open(mailbox_of(&a.store.arena, i))
    fork_settle_spans(a, mine)
    for i in range(1, a.store.heap_count + 1):
        if heap_is_orphan(a, mine, i):
            mailbox_take(mailbox_of(&a.store.arena, i), True)
            fork_empty_bins(a, (<Heap*>a.store.heaps[i]))
            fork_recycle_heap(a, (<Heap*>a.store.heaps[i]))


cdef inline void fork_register "rt_fork_register"() noexcept nogil:
    rt_fork_handlers(fork_prepare, fork_parent, fork_child)
