# Threads and their heaps: a thread gets one when it first needs it, and leaves it behind clean when it ends.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.pages.arena cimport arena_address, arena_open, arena_run
from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u32, rt_load_relaxed_u32, rt_store_relaxed_u32, rt_store_relaxed_u64, rt_store_release_u32,
)
from rtmalloc.core.base.attributes cimport RT_STATIC_ASSERT, cold_int, cold_pointer, cold_void
from rtmalloc.core.giveback.background cimport Background
from rtmalloc.core.heaps.heap cimport BEAT_MOST, Heap, heap_disown
from rtmalloc.core.calls.large cimport Giants
from rtmalloc.core.base.lock cimport Lock, lock_drop, lock_take
from rtmalloc.core.spans.mailbox cimport mailbox_of, mailbox_open
from rtmalloc.core.base.options cimport (
    PATH_BYTES, RT_OPTION_address_order, RT_OPTION_epoch_ms, RT_OPTION_profile, RT_OPTION_profile_every, RT_OPTION_remote_kib,
    RT_OPTION_segments, getenv, options_preset, options_read, rt_environment_is_ready,
)
from rtmalloc.core.pages.pagemap cimport TAG_OWNER_SHIFT
from rtmalloc.core.heaps.percpu cimport percpu_enable
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_map, rt_os_thread_id, rt_os_thread_is_gone
from rtmalloc.core.profile.profile cimport profile_start
from rtmalloc.core.profile.profile_file cimport profile_file_open
from rtmalloc.core.giveback.pressure cimport Pressure
from rtmalloc.core.giveback.purge cimport Purge
from rtmalloc.core.heaps.refill cimport heap_flush
from rtmalloc.core.heaps.remote cimport mail_read
from rtmalloc.core.base.size_class cimport rt_class_count
from rtmalloc.core.heaps.sample cimport heap_beat_begin, heap_sample_begin
from rtmalloc.core.spans.span cimport Span
from rtmalloc.core.spans.store cimport Store, central_abandon
from rtmalloc.core.base.table_file cimport table_load, table_seal

cdef extern from "base/config.h":
    enum:
        RT_SHARD

cdef extern from "heaps/tls.h" nogil:
    enum:
        RT_HEAP_BYTES
        RT_ALLOCATOR_BYTES
    ctypedef struct rt_heap_storage:
        pass
    rt_heap_storage rt_heap_empty
    rt_heap_storage rt_heap_late
    char rt_allocator_storage[]
    void rt_fork_register() noexcept
    void* rt_tls_get() noexcept
    void rt_tls_set(void* heap) noexcept
    bint rt_tls_is_active() noexcept
    ctypedef void (*rt_destructor)(void*) noexcept nogil
    int rt_exit_key_open(rt_destructor f) noexcept
    int rt_exit_key_set(void* value) noexcept

cdef enum:
    HEAP_CHUNK = 8             # heaps mapped at a time

cdef struct Allocator:
    Store store
    Giants giants
    Purge purge
    Pressure pressure
    Background background
    uint32_t ready             # 1 when all else may be used
    uint32_t table_read        # 1 when the table of size classes is final
    Lock opening               # held while the allocator is set up
    Lock heaps_lock            # guards what follows
    Heap* pool                 # heaps without a thread, linked by pool_next
    char* heap_memory          # where the next heaps come from ...
    uint32_t heap_room         # ... and how many fit
    Lock late_lock             # guards the shared heap of threads that have passed their exit
    Heap* late
    uint32_t reclaim_cursor    # heap whose thread was looked at last
    uint32_t cpus              # heaps of CPUs (cpu_heap.pxd)
    uint64_t threads_started   # heaps handed to threads
    uint64_t threads_ended


cdef inline Allocator* allocator() noexcept nogil:
    # The one instance of this library.
    return <Allocator*>rt_allocator_storage


cdef inline Heap* thread_heap() noexcept nogil:
    return <Heap*>rt_tls_get()


cdef inline bint heap_is_real(const Heap* h) noexcept nogil:
    return <void*>h != <void*>&rt_heap_empty and <void*>h != <void*>&rt_heap_late


cdef inline cold_void options_from_environment(Allocator* a) noexcept nogil:
    # The options, and with them the table of size classes.
    cdef const char* text
    cdef char config[PATH_BYTES]
    config[0] = 0
    options_preset(&a.store.options)
    if rt_environment_is_ready():
        text = getenv(b"RTMALLOC_OPTIONS")
        if text != NULL:
            options_read(&a.store.options, text, config)
    if profile_file_open():
        a.store.options.value[RT_OPTION_profile] = 1
    # Once: an earlier attempt to open may have failed behind this point.
    if not a.table_read:
        a.table_read = 1
        if config[0]:
            table_load(config)
        table_seal()


cdef inline cold_int allocator_open() noexcept nogil:
    # Set the allocator up if it is not; 1, or 0 when there is no address space for it. Uses nothing that allocates.
    cdef Allocator* a = allocator()
    cdef bint opened = False
    RT_STATIC_ASSERT(sizeof(Heap) <= RT_HEAP_BYTES)
    RT_STATIC_ASSERT(sizeof(Allocator) <= RT_ALLOCATOR_BYTES)
    if rt_load_acquire_u32(&a.ready):
        return 1
    lock_take(&a.opening)
    if not a.ready:
        options_from_environment(a)
        a.background.store = &a.store
        a.background.purge = &a.purge
        a.background.pressure = &a.pressure
        # What a failed attempt got is kept for the next one.
        if a.store.arena.base != NULL or arena_open(&a.store.arena):
            a.store.arena.options = &a.store.options
            if not a.store.options.value[RT_OPTION_segments] and not a.store.arena.on_demand:
                # (Where address space is scarce it is mapped by segments, and given up so.)
                a.store.arena.pages.run_hook = arena_run
            a.store.arena.pages.address_order = &a.store.options.value[RT_OPTION_address_order]
            if a.store.heaps == NULL:
                a.store.heaps = <void**>rt_os_map((a.store.arena.heap_limit + 1) * sizeof(Heap*))
            if a.store.options.value[RT_OPTION_profile]:
                profile_start(&a.store.profile, <uint32_t>a.store.options.value[RT_OPTION_profile_every])
            if a.store.heaps != NULL and rt_exit_key_open(thread_exit) == 0:
                percpu_enable(<size_t>arena_address(&a.store.arena, a.store.arena.slice_limit))
                rt_store_release_u32(&a.ready, 1)
                opened = True
    lock_drop(&a.opening)
    if opened:
        # May allocate: everything works by now.
        rt_fork_register()
    return rt_load_acquire_u32(&a.ready)


cdef inline Heap* heap_create(Allocator* a, bint last) noexcept nogil:
    # A new heap with the next id, under heaps_lock; NULL when ids or memory are used up. The last id is for `last`.
    cdef Heap* h
    cdef size_t bytes = (sizeof(Heap) + 127) & ~<size_t>127
    if a.store.heap_count + (0 if last else 1) >= a.store.arena.heap_limit:
        return NULL
    if a.heap_room == 0:
        a.heap_memory = <char*>rt_os_map(HEAP_CHUNK * bytes)
        if a.heap_memory == NULL:
            return NULL
        a.heap_room = HEAP_CHUNK
    h = <Heap*>a.heap_memory
    a.heap_memory += bytes
    a.heap_room -= 1
    h.id = a.store.heap_count + 1
    # Where spans have no owner, nobody's objects are everybody's.
    h.tag_base = h.id << TAG_OWNER_SHIFT if RT_SHARD else 0
    h.store = &a.store
    a.store.heaps[h.id] = h
    # After the entry: who reads the count without the lock finds every heap below it.
    rt_store_release_u32(&a.store.heap_count, h.id)
    return h


cdef inline Heap* heap_acquire(Allocator* a, bint last) noexcept nogil:
    # A clean heap for somebody (with `last`, even the last one); NULL when there is none left.
    cdef Heap* h
    lock_take(&a.heaps_lock)
    h = a.pool
    if h != NULL:
        a.pool = h.pool_next
    else:
        h = heap_create(a, last)
    if h != NULL:
        rt_store_relaxed_u32(&h.live, 1)
        h.life += 1
        h.tid = rt_os_thread_id()
        a.threads_started += 1
    lock_drop(&a.heaps_lock)
    if h != NULL:
        h.beat_length = BEAT_MOST
        heap_sample_begin(h)
        heap_beat_begin(h, BEAT_MOST)
        h.flush_seen = rt_load_relaxed_u32(&a.store.flush_epoch)
        h.remote_room = a.store.options.value[RT_OPTION_remote_kib] * 1024
        rt_store_relaxed_u64(&h.ticked_at, rt_os_clock_ms())
        h.epoch_at = rt_os_clock_ms() + a.store.options.value[RT_OPTION_epoch_ms]
        mailbox_open(mailbox_of(&a.store.arena, h.id))
    return h


cdef inline cold_pointer thread_heap_open() noexcept nogil:
    # The calling thread's heap, made now if it has none; NULL for a thread that has passed its exit, or when no heap is
    # left: it then shares the late heap (late_heap_take).
    cdef Heap* h = thread_heap()
    if heap_is_real(h):
        return h
    if <void*>h == <void*>&rt_heap_late or not allocator_open():
        return NULL
    # Opening registers fork handlers, which may allocate: then there is a heap by now.
    h = thread_heap()
    if heap_is_real(h):
        return h
    h = heap_acquire(allocator(), False)
    if h == NULL:
        return NULL
    rt_tls_set(h)
    # May allocate in threads with many keys, which by now works.
    if rt_exit_key_set(h) != 0:
        # Without its destructor the heap would never come back: this thread shares the late one.
        rt_tls_set(&rt_heap_late)
        heap_recycle(allocator(), h)
        return NULL
    return h


cdef inline void heap_leave(Heap* h) noexcept nogil:
    # Give up everything: bins and caches to the spans, empty spans to the page heap, the others to the central store.
    # The mailbox closes last, when no tag names this heap any more, so that no hint can be left behind in it.
    cdef Span* s
    cdef uint32_t c
    heap_flush(h)
    lock_take(&h.lock)
    while h.owned != NULL:
        s = h.owned
        heap_disown(h, s)
        central_abandon(h.store, s)
    h.sweep = NULL
    for c in range(rt_class_count):
        h.sources[c].current = NULL
        h.sources[c].partial = NULL
        h.sources[c].word = 0
        h.bins[c].idle = 0
        h.bins[c].refills = 0
    lock_drop(&h.lock)
    mail_read(h.store, NULL, h.id, True)


cdef inline void thread_exit(void* heap) noexcept nogil:
    # The pthread key's destructor. Destructors that run after it may still allocate and free: they find the late heap.
    rt_tls_set(&rt_heap_late)
    heap_recycle(allocator(), <Heap*>heap)


cdef inline void heap_recycle(Allocator* a, Heap* h) noexcept nogil:
    # The heap's thread needs it no more.
    heap_leave(h)
    lock_take(&a.heaps_lock)
    rt_store_relaxed_u32(&h.live, 0)
    h.pool_next = a.pool
    a.pool = h
    a.threads_ended += 1
    lock_drop(&a.heaps_lock)


cdef inline cold_void heap_reclaim_lost(Allocator* a) noexcept nogil:
    # A thread whose first call comes after the last round of its key destructors leaves its heap behind. Look at one heap
    # per epoch, going round. A heap that changed hands between the two looks has another `life`.
    cdef Heap* h
    cdef uint32_t tid, life
    cdef bint lost
    lock_take(&a.heaps_lock)
    a.reclaim_cursor = a.reclaim_cursor + 1 if a.reclaim_cursor < a.store.heap_count else 1
    h = <Heap*>a.store.heaps[a.reclaim_cursor]
    lost = h.live and h.cpu == 0 and h != a.late and h != thread_heap()
    tid = h.tid
    life = h.life
    lock_drop(&a.heaps_lock)
    if not lost or not rt_os_thread_is_gone(tid):
        return
    lock_take(&a.heaps_lock)
    lost = h.live and h.life == life
    if lost:
        # Ours now: nobody else takes it for lost as well.
        h.life += 1
        h.tid = rt_os_thread_id()
    lock_drop(&a.heaps_lock)
    if lost:
        heap_recycle(a, h)


cdef inline Heap* late_heap_take() noexcept nogil:
    # The heap shared by threads that have none, locked; NULL when there is no memory for it.
    cdef Allocator* a = allocator()
    cdef Heap* h
    if not allocator_open():
        return NULL
    lock_take(&a.late_lock)
    if a.late == NULL:
        h = heap_acquire(a, True)
        lock_take(&a.heaps_lock)
        a.late = h
        lock_drop(&a.heaps_lock)
        if a.late == NULL:
            lock_drop(&a.late_lock)
    return a.late


cdef inline void late_heap_drop() noexcept nogil:
    lock_drop(&allocator().late_lock)
