# The calls that programs make: malloc, free and their family. The two fast paths first, then what they miss into.
#
# malloc: thread heap -> bin by a table -> pop.
# free:   slice -> tag -> (tag - own tag base) is the bin's offset, or the object is not ours -> push.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cython cimport likely, unlikely

from rtmalloc.core.pages.arena cimport Arena, arena_address, arena_slice_of
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_store_relaxed_u64
from rtmalloc.core.base.attributes cimport (
    cold_pointer, cold_void, fast_pointer, fast_void, inlined_pointer, inlined_void, slow_pointer, slow_void,
)
from rtmalloc.core.giveback.background cimport background_tick
from rtmalloc.core.heaps.budget cimport heap_cover, heap_uncovered
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.heaps.cpu_heap cimport (
    cpu_heap_drop, cpu_heap_here, cpu_heap_take, cpu_heap_try, cpu_heaps_flush, cpu_heaps_reclaim_idle,
)
from rtmalloc.core.heaps.heap cimport BEAT_LEAST, BEAT_MOST, BINS_OFFSET, Bin, Heap, cpu_heap_beats
from rtmalloc.core.calls.large cimport (
    giant_bytes, giant_give, giant_resize, giant_take, large_bytes, large_give, large_resize, large_take,
    large_to_giant, large_zero,
)
from rtmalloc.core.base.options cimport RT_OPTION_remap_kib
from rtmalloc.core.pages.pagemap cimport (
    BIN_BYTES, BIN_END, TAG_LARGE, TAG_SAMPLED, tag_class, tag_code, tag_find, tag_find_inside, tag_is_outside,
    tag_of_slice,
)
from rtmalloc.core.profile.profile cimport profile_block_bytes, profile_give, profile_note_large
from rtmalloc.core.base.platform cimport EINVAL, ENOMEM, rt_get_errno, rt_os_clock_ms, rt_set_errno
from rtmalloc.core.giveback.pressure cimport emergency_flush, pressure_refused
from rtmalloc.core.giveback.purge cimport purge_everything, purge_tick
from rtmalloc.core.spans.object cimport Batch, batch_begin, batch_takes, object_locate
from rtmalloc.core.heaps.percpu cimport (
    RT_PERCPU_BEATS, RT_PERCPU_BUILT, RT_PERCPU_DONE, RT_PERCPU_FULL, percpu_serves, rt_percpu_pop, rt_percpu_push,
)
from rtmalloc.core.heaps.refill cimport (
    bin_close, bin_is_useless, cpu_bin_make_room, cpu_send_home, heap_flush, heap_free_excess, heap_refill, heaps_flush,
)
from rtmalloc.core.heaps.remote cimport heap_free_remote, heap_remote_tick, heap_takes_remote, span_put
from rtmalloc.core.heaps.sample cimport (
    heap_beat_begin, heap_beat_break, heap_free_chosen, heap_sample_begin, heap_take_fence,
)
from rtmalloc.core.giveback.scavenge cimport heap_epoch, store_epoch
from rtmalloc.core.base.size_class cimport (
    RT_MAX_SMALL, class_bin_offset, class_of_aligned, class_of_size, rt_class_largest, rt_class_size,
)
from rtmalloc.core.spans.span cimport Span
from rtmalloc.core.spans.store cimport Store
from rtmalloc.core.heaps.thread cimport (
    Allocator, allocator, allocator_open, heap_is_real, heap_reclaim_lost, late_heap_drop, late_heap_take,
    rt_tls_is_active, thread_heap, thread_heap_open,
)
from rtmalloc.core.spans.transfer_cache cimport transfer_drain

cdef extern from "base/config.h":
    enum:
        RT_SHARD
        RT_SLICE_SHIFT

cdef extern from *:
    """
    #include <stdint.h>
    static inline int rt_multiply(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }
    #define RT_LARGEST_REQUEST ((size_t)PTRDIFF_MAX)
    """
    bint rt_multiply(size_t a, size_t b, size_t* product) noexcept nogil
    const size_t RT_LARGEST_REQUEST

cdef enum:
    REFILL_BEATS = 16          # a refill counts as so many frees towards the next tick
    REFILL_ALL = 0xFFFF        # heap_refill: no bound but the bin's
    CALLOC_SINGLE = 2048       # bytes: above it calloc fetches single objects, to know whether they are zero already
    GROWTH_SHIFT = 2           # a large block that realloc moves because it grows gets room for a quarter more
    FREE_SMALL = -1            # free_special's "a small object, not freed yet"
    SHRINK_KEEP = 64           # bytes: a block of at most so many is not moved to save space


# ---- the fast paths

cdef inline fast_pointer rt_malloc "rt_malloc"(size_t bytes) noexcept nogil:
    if unlikely(bytes > RT_MAX_SMALL):
        return malloc_large(bytes)
    return malloc_small(bytes)


cdef inline inlined_pointer malloc_small(size_t bytes) noexcept nogil:
    # At most RT_MAX_SMALL bytes.
    cdef Heap* h = thread_heap()
    cdef Bin* b
    cdef void* p
    if unlikely(not rt_tls_is_active()):
        return malloc_slow(bytes)
    if RT_PERCPU_BUILT:
        p = rt_percpu_pop(BINS_OFFSET + class_bin_offset(bytes))
        if likely(p != NULL):
            return p
        if percpu_serves():
            return malloc_cpu(bytes)
    b = <Bin*>(<char*>h + BINS_OFFSET + class_bin_offset(bytes))
    p = b.head
    if unlikely(p == NULL):
        return malloc_slow(bytes)
    b.head = (<void**>p)[0]
    b.room += 1
    return p


cdef inline fast_void rt_free "rt_free"(void* p) noexcept nogil:
    cdef uint32_t tag
    if unlikely(not rt_tls_is_active()):
        free_other(p)
        return
    if unlikely(not tag_find(&allocator().store.arena, p, &tag)):
        free_outside(p)
        return
    free_inside(tag, p)


cdef inline inlined_void free_inside(uint32_t tag, void* p) noexcept nogil:
    # A block of the arena.
    cdef Heap* h = thread_heap()
    cdef uint32_t code
    cdef Bin* b
    cdef int answer
    if RT_PERCPU_BUILT:
        code = tag_code(tag)
        if likely(code < BIN_END):
            # Of whatever span: the bins of a CPU hold objects, and are not asked whose they are.
            answer = rt_percpu_push(p, BINS_OFFSET + code)
            if likely(answer == RT_PERCPU_DONE):
                return
            if answer == RT_PERCPU_BEATS:
                cpu_tick()
                return
        if percpu_serves():
            free_cpu(p)
            return
    code = tag - h.tag_base
    if unlikely(code >= BIN_END):
        free_other(p)
        return
    b = <Bin*>(<char*>h + BINS_OFFSET + code)
    b.room -= 1
    if unlikely(b.room < 0):
        free_full(p, b)
        return
    h.beat -= 1
    if unlikely(h.beat < 0):
        free_beat(p, b)
        return
    (<void**>p)[0] = b.head
    b.head = p


# ---- malloc's slow paths

cdef inline bint heap_tick_own(Heap* h, uint64_t now) noexcept nogil:
    # What a tick does for its heap. Whether the heap's epoch was due: then what is shared is looked at, too.
    cdef int32_t length = h.beat_length
    if now == h.ticked_at:
        length = length * 2 if length < BEAT_MOST else length
    elif length > BEAT_LEAST:
        length //= 2
    rt_store_relaxed_u64(&h.ticked_at, now)
    h.beat_length = length
    heap_beat_break(h)
    if unlikely(h.recording != rt_load_relaxed_u32(&h.store.profile.recording) and not (RT_PERCPU_BUILT and h.cpu)):
        # (The profile does not follow what passes through the bins of CPUs.)
        heap_sample_begin(h)
    heap_beat_begin(h, length)
    h.counters.ticks += 1
    if h.flush_seen != rt_load_relaxed_u32(&h.store.flush_epoch):
        h.flush_seen = rt_load_relaxed_u32(&h.store.flush_epoch)
        heap_flush(h)
    if heap_uncovered(h) != 0 and not heap_cover(h, False):
        # Others have had the use of its budget while it slept, and there is no more: it begins anew.
        heap_flush(h)
    heap_remote_tick(h)
    if now < h.epoch_at:
        return False
    heap_epoch(h, now)
    return True


cdef inline void store_tick(Heap* h, uint64_t now, bint epoch) noexcept nogil:
    # What a tick does for all. `h` is the caller's heap, NULL for a thread without one.
    cdef Allocator* a = allocator()
    if epoch and store_epoch(&a.store, h, now):
        heap_reclaim_lost(a)
        if RT_PERCPU_BUILT:
            cpu_heaps_reclaim_idle(a, now)
    purge_tick(&a.store, &a.purge, h, now)
    background_tick(&a.background)


cdef inline slow_void heap_tick(Heap* h) noexcept nogil:
    # Every few thousand frees or few dozen refills of a busy thread, every few frees of a slow one: look at the clock, and
    # do what is due. errno stays: free must not change it.
    cdef uint64_t now = rt_os_clock_ms()
    cdef bint epoch = heap_tick_own(h, now)
    store_tick(h, now, epoch)


cdef inline slow_void cpu_tick() noexcept nogil:
    # The same for the CPU's heap. Nobody waits for a tick: who finds the turn taken leaves it to the next one. What is for
    # all comes without the turn: it makes system calls, and may start a thread, which allocates.
    cdef uint64_t now = rt_os_clock_ms()
    cdef Heap* h = cpu_heap_try()
    cdef bint epoch
    if h == NULL:
        return
    if h.beat >= 0:
        # Another thread has just done it, or we have been moved.
        cpu_heap_drop(h)
        return
    epoch = heap_tick_own(h, now)
    cpu_heap_drop(h)
    store_tick(NULL, now, epoch)


cdef inline void heap_beats(Heap* h, int32_t beats) noexcept nogil:
    # Slow paths count too. They count apart from the fast one, which alone counts the frees into bins (sample.pxd).
    h.beat_rest -= beats
    if unlikely(h.beat_rest + h.beat < 0):
        heap_tick(h)


cdef inline int flush_all(Heap* h) noexcept nogil:
    # The emergency flush, and with it what the heaps of CPUs cache; holding nobody's turn. Whether memory went back to the
    # kernel. `h` is the caller's heap or NULL.
    cdef Allocator* a = allocator()
    if RT_PERCPU_BUILT:
        cpu_heaps_flush(a)
    return emergency_flush(&a.store, &a.purge, &a.pressure, h)


cdef inline cold_void memory_rescue(Heap* h) noexcept nogil:
    # The kernel refuses memory: flush everything, for another attempt. `h` is NULL for a thread without a heap.
    flush_all(h)
    pressure_refused(&allocator().pressure)


cdef inline Heap* heap_or_null() noexcept nogil:
    # The calling thread's heap, NULL when it has none.
    cdef Heap* h = thread_heap()
    return h if heap_is_real(h) else NULL


cdef inline void* heap_malloc(Heap* h, size_t bytes, uint32_t most) noexcept nogil:
    # An object of a real heap for a small request, whatever it takes.
    cdef uint32_t class_ = class_of_size(bytes)
    cdef Bin* b = &h.bins[class_]
    cdef void* p = b.head
    if p != NULL:
        h.last_zeroed = False
        b.head = (<void**>p)[0]
        b.room += 1
        return p
    if h.sources[class_].fence != NULL:
        return heap_take_fence(h, class_, bytes)
    heap_beats(h, REFILL_BEATS)
    # The tick may have flushed, never filled.
    p = heap_refill(h, class_, bytes, most)
    if unlikely(p == NULL):
        memory_rescue(h)
        p = heap_refill(h, class_, bytes, most)
        if p == NULL:
            rt_set_errno(ENOMEM)
    return p


cdef inline cold_pointer malloc_late(size_t bytes, bint* zeroed) noexcept nogil:
    # For a thread that has no heap any more (or gets none): one heap for all of them, under a lock.
    cdef Heap* h = late_heap_take()
    cdef void* p
    if h == NULL:
        rt_set_errno(ENOMEM)
        return NULL
    p = heap_malloc(h, bytes, REFILL_ALL)
    zeroed[0] = h.last_zeroed
    late_heap_drop()
    return p


cdef inline void* malloc_of_cpu(size_t bytes, uint32_t most, bint* zeroed) noexcept nogil:
    # An object by way of the CPU's heap, whatever it takes. *zeroed: whether it is known to be zero.
    cdef uint32_t class_ = class_of_size(bytes)
    cdef Heap* h
    cdef void* p = NULL
    cdef int32_t beat
    cdef int attempt
    for attempt in range(2):
        zeroed[0] = False
        h = cpu_heap_take()
        if h == NULL:
            return malloc_late(bytes, zeroed)
        # While we waited for the turn somebody may have filled the bin.
        p = rt_percpu_pop(BINS_OFFSET + class_ * BIN_BYTES)
        if p == NULL:
            p = heap_refill(h, class_, bytes, most)
            zeroed[0] = h.last_zeroed
            h.beat -= REFILL_BEATS
        beat = h.beat
        cpu_heap_drop(h)
        if p != NULL:
            if beat < 0:
                cpu_tick()
            return p
        if attempt == 0:
            memory_rescue(NULL)
    rt_set_errno(ENOMEM)
    return NULL


cdef inline slow_pointer malloc_cpu(size_t bytes) noexcept nogil:
    cdef bint zeroed = False
    if unlikely(bytes > rt_class_largest):
        return malloc_large(bytes)
    return malloc_of_cpu(bytes, REFILL_ALL, &zeroed)


cdef inline slow_pointer malloc_slow(size_t bytes) noexcept nogil:
    cdef Heap* h = thread_heap()
    cdef bint zeroed = False
    if unlikely(not allocator_open() or bytes > rt_class_largest):
        # A table that was read may end below the largest size that the fast path asks for. (Bin 0 is always empty.)
        return malloc_large(bytes)
    if RT_PERCPU_BUILT and percpu_serves():
        # The first call of all, which has opened the allocator.
        return malloc_cpu(bytes)
    if unlikely(not heap_is_real(h)):
        h = <Heap*>thread_heap_open()
        if h == NULL:
            return malloc_late(bytes, &zeroed)
    return heap_malloc(h, bytes, REFILL_ALL)


cdef inline slow_pointer malloc_large(size_t bytes) noexcept nogil:
    return malloc_large_aligned(bytes, 1, False)


cdef inline slow_pointer malloc_large_aligned(size_t bytes, size_t alignment, bint zero) noexcept nogil:
    # A block above the small classes; with `zero` its first `bytes` are zero.
    cdef Allocator* a = allocator()
    cdef Heap* h = thread_heap()
    cdef void* p = NULL
    cdef int attempt
    if bytes == 0:
        # Too strict an alignment for the small classes; a block has at least one byte of its own.
        bytes = 1
    if bytes > RT_LARGEST_REQUEST or not allocator_open():
        rt_set_errno(ENOMEM)
        return NULL
    profile_note_large(&a.store.profile, bytes)
    if RT_PERCPU_BUILT and percpu_serves():
        h = NULL
        cpu_beats(REFILL_BEATS)
    elif heap_is_real(h):
        heap_beats(h, REFILL_BEATS)
    else:
        h = NULL
    for attempt in range(2):
        p = large_take(&a.store, &a.purge, bytes, alignment)
        if p != NULL:
            if zero:
                large_zero(&a.store, <uint32_t>arena_slice_of(&a.store.arena, p), bytes)
            return p
        p = giant_take(&a.store, &allocator().giants, bytes, alignment)
        if p != NULL:
            return p
        if bytes > (a.store.arena.slice_limit << RT_SLICE_SHIFT):
            # No amount of tidying makes room for that.
            break
        if attempt == 0:
            memory_rescue(h)
    rt_set_errno(ENOMEM)
    return NULL


# ---- free's slow paths

cdef inline slow_void free_beat(void* p, Bin* b) noexcept nogil:
    # The heartbeat: the object is put away, then comes the tick, or another stretch until it.
    cdef Heap* h = thread_heap()
    heap_free_chosen(h, b, p)
    if h.beat_rest > 0:
        heap_beat_begin(h, h.beat_rest)
    else:
        heap_tick(h)


cdef inline slow_void free_full(void* p, Bin* b) noexcept nogil:
    cdef Heap* h = thread_heap()
    cdef uint32_t class_ = <uint32_t>(b - h.bins)
    b.room += 1
    if RT_SHARD == 0 and class_ == 0:
        # Tag 0 looks like ours here, and is none at all.
        free_other(p)
        return
    if not batch_takes(&h.sources[class_].excess, p):
        heap_free_excess(h, p, class_)
        if bin_is_useless(h, class_):
            bin_close(h, class_)
    heap_beats(h, 1)


cdef inline void cpu_beats(int32_t beats) noexcept nogil:
    # The heartbeat of calls that do not come by a bin.
    cdef Heap* h = cpu_heap_here()
    if h != NULL and cpu_heap_beats(h, beats):
        cpu_tick()


cdef inline slow_void free_alone(void* p, uint32_t class_) noexcept nogil:
    # Without any heap: one object, straight to its span.
    cdef Allocator* a = allocator()
    cdef uint32_t object_ = 0
    cdef Span* s = object_locate(&a.store.arena, p, &object_)
    cdef Batch batch
    if s == NULL:
        complain_of_pointer(b"free", p, b"not the start of a block")
    batch_begin(&batch, s, object_, class_)
    span_put(&a.store, NULL, &batch)


cdef inline slow_void free_outside(void* p) noexcept nogil:
    # Not in the arena: NULL, a giant, or not ours. Before start-up everything is outside.
    if p == NULL or giant_give(&allocator().giants, p):
        return
    complain_of_pointer(b"free", p, b"not a block of this allocator")


cdef inline slow_void free_sampled(void* p) noexcept nogil:
    # A small object that the profile follows.
    cdef Store* store = &allocator().store
    cdef int wrong = profile_give(&store.profile, &store.arena, p)
    if wrong == 1:
        complain_of_pointer(b"free", p, b"not the start of a block")
    if wrong:
        complain_of_pointer(b"free", p, b"double free")


cdef inline slow_void free_other(void* p) noexcept nogil:
    # In the arena, but not a small object of the calling thread: first the quick path of remote frees, without a frame.
    cdef Heap* h = thread_heap()
    if unlikely(not heap_takes_remote(h, p)):
        free_foreign(p)
        return
    heap_beats(h, 1)


cdef inline int32_t free_special(void* p, uint32_t* tag) noexcept nogil:
    # What is no small object of a span: it goes back, or is complained of. Returns the beats that this counts for, or
    # FREE_SMALL with the tag of a small object, which is still there.
    cdef Allocator* a = allocator()
    cdef uint64_t slice = arena_slice_of(&a.store.arena, p)
    if tag_is_outside(&a.store.arena, p):
        free_outside(p)
        return 0
    tag[0] = tag_of_slice(&a.store.arena, slice)
    if tag_code(tag[0]) == TAG_LARGE:
        if arena_address(&a.store.arena, slice) != p or not large_give(&a.store, <uint32_t>slice):
            complain_of_pointer(b"free", p, b"inside a large block, not its start")
        return REFILL_BEATS
    if tag_code(tag[0]) == TAG_SAMPLED:
        free_sampled(p)
        return 0
    if tag_code(tag[0]) == 0:
        complain_of_pointer(b"free", p, b"no block is allocated there (freed before?)")
    return FREE_SMALL


cdef inline slow_void free_cpu(void* p) noexcept nogil:
    # In the arena, but no bin has taken it: there is none of its class here yet, or it is full, or it is no small object.
    # (One that the profile follows came from the heap of a thread without a registration.)
    cdef uint32_t tag = 0
    cdef int32_t beat = free_special(p, &tag)
    cdef Heap* h
    if beat != FREE_SMALL:
        if beat:
            cpu_beats(beat)
        return
    h = cpu_heap_try()
    if h == NULL:
        # Somebody has the turn, perhaps while he sleeps: free does not wait.
        free_alone(p, tag_class(tag))
        return
    cpu_bin_make_room(h, tag_class(tag))
    if rt_percpu_push(p, BINS_OFFSET + tag_code(tag)) == RT_PERCPU_FULL:
        cpu_send_home(h, p, tag_class(tag))
    h.beat -= 1
    beat = h.beat
    cpu_heap_drop(h)
    if beat < 0:
        cpu_tick()


cdef inline slow_void free_foreign(void* p) noexcept nogil:
    # A large block, or a small object that begins a new batch.
    cdef uint32_t tag = 0
    cdef int32_t beats = free_special(p, &tag)
    cdef Heap* h = thread_heap()
    cdef uint32_t object_ = 0
    cdef Span* s
    if beats != FREE_SMALL:
        if beats and heap_is_real(h):
            heap_beats(h, beats)
        return
    if unlikely(not heap_is_real(h)):
        # A thread that only frees gets a heap too, for its sender's cache and its heartbeat.
        h = <Heap*>thread_heap_open()
        if h == NULL:
            free_alone(p, tag_class(tag))
            return
    s = object_locate(&allocator().store.arena, p, &object_)
    if s == NULL:
        complain_of_pointer(b"free", p, b"not the start of a block")
    heap_free_remote(h, p, s, object_, tag_class(tag))
    heap_beats(h, 1)


# ---- the family

cdef inline size_t block_bytes(const void* p) noexcept nogil:
    # Usable bytes of the block that begins at `p`, 0 when it is none of ours.
    cdef Arena* a = &allocator().store.arena
    cdef uint32_t tag, code
    if not tag_find_inside(a, p, &tag):
        return giant_bytes(&allocator().giants, p)
    code = tag_code(tag)
    if code == TAG_LARGE:
        return large_bytes(&allocator().store, <uint32_t>arena_slice_of(a, p))
    if code == TAG_SAMPLED:
        return profile_block_bytes(a, p)
    return rt_class_size[code // BIN_BYTES]


cdef inline void* rt_calloc "rt_calloc"(size_t count, size_t size) noexcept nogil:
    cdef size_t bytes = 0
    cdef Heap* h = thread_heap()
    cdef bint zeroed = False
    cdef void* p
    if not rt_multiply(count, size, &bytes):
        rt_set_errno(ENOMEM)
        return NULL
    if bytes <= CALLOC_SINGLE and bytes <= rt_class_largest:
        # (Before start-up the largest class is the build's: what a table that is read makes large, malloc serves.)
        p = rt_malloc(bytes)
    elif unlikely(not allocator_open() or bytes > rt_class_largest):
        return malloc_large_aligned(bytes, 1, True)
    elif RT_PERCPU_BUILT and percpu_serves():
        p = malloc_of_cpu(bytes, 1, &zeroed)
    else:
        if unlikely(not heap_is_real(h)):
            h = <Heap*>thread_heap_open()
        if h == NULL:
            p = malloc_late(bytes, &zeroed)
        else:
            p = heap_malloc(h, bytes, 1)
            zeroed = h.last_zeroed
    if p != NULL and not zeroed:
        memset(p, 0, bytes)
    return p


cdef inline void* realloc_move_to(void* q, void* p, size_t bytes) noexcept nogil:
    # The first `bytes` of the block p move to the new block q; NULL for that leaves the old one as it is.
    if q != NULL:
        memcpy(q, p, bytes)
        rt_free(p)
    return q


cdef inline slow_pointer realloc_move(void* p, size_t before, size_t bytes) noexcept nogil:
    # A new block with the old one's content; NULL leaves the old one as it is.
    return realloc_move_to(rt_malloc(bytes), p, before if before < bytes else bytes)


cdef inline slow_pointer realloc_large(void* p, uint64_t slice, size_t bytes) noexcept nogil:
    # A large block of the arena grows or shrinks: in place, by moving its pages, or by copying.
    cdef Allocator* a = allocator()
    cdef size_t before
    cdef void* q
    if arena_address(&a.store.arena, slice) != p:
        complain_of_pointer(b"realloc", p, b"inside a large block, not its start")
    before = large_bytes(&a.store, <uint32_t>slice)
    if bytes > RT_LARGEST_REQUEST:
        rt_set_errno(ENOMEM)
        return NULL
    if bytes > rt_class_largest:
        if large_resize(&a.store, &a.purge, <uint32_t>slice, bytes):
            return p
        if bytes >= <size_t>a.store.options.value[RT_OPTION_remap_kib] * 1024:
            # Room to grow is address space only: what is not touched costs nothing.
            q = large_to_giant(&a.store, &allocator().giants, <uint32_t>slice, bytes + bytes // 8)
            if q == NULL:
                q = large_to_giant(&a.store, &allocator().giants, <uint32_t>slice, bytes)
            if q != NULL:
                return q
        if bytes > before:
            # It grows, and not for the first time: with some room behind it the next steps need no copy.
            q = realloc_move_to(large_take(&a.store, &a.purge, bytes + (bytes >> GROWTH_SHIFT), 1), p, before)
            if q != NULL:
                return q
    return realloc_move(p, before, bytes)


cdef inline slow_pointer realloc_outside(void* p, size_t bytes) noexcept nogil:
    cdef Allocator* a = allocator()
    cdef size_t before = giant_bytes(&allocator().giants, p)
    cdef void* q
    if before == 0:
        complain_of_pointer(b"realloc", p, b"not a block of this allocator")
    if bytes > RT_LARGEST_REQUEST:
        rt_set_errno(ENOMEM)
        return NULL
    if bytes <= before and bytes >= before - before // 4:
        return p
    if bytes >= <size_t>a.store.options.value[RT_OPTION_remap_kib] * 512:
        q = NULL
        if bytes > before:
            # Room to grow is address space only: what is not touched costs nothing.
            q = giant_resize(&a.store, &allocator().giants, p, bytes + bytes // 8)
        if q == NULL:
            q = giant_resize(&a.store, &allocator().giants, p, bytes)
        if q != NULL:
            return q
        if bytes <= before:
            return p
    return realloc_move(p, before, bytes)


cdef inline void* realloc_nonzero(void* p, size_t bytes) noexcept nogil:
    # realloc that never frees: p == NULL allocates, bytes == 0 shrinks to the smallest block.
    cdef uint32_t tag
    if p == NULL:
        return rt_malloc(bytes)
    if not tag_find_inside(&allocator().store.arena, p, &tag):
        return realloc_outside(p, bytes)
    return realloc_inside(tag, p, bytes)


cdef inline inlined_pointer realloc_inside(uint32_t tag, void* p, size_t bytes) noexcept nogil:
    # A block of the arena.
    cdef Allocator* a = allocator()
    cdef uint32_t code = tag_code(tag)
    cdef size_t before
    if code == TAG_LARGE:
        return realloc_large(p, arena_slice_of(&a.store.arena, p), bytes)
    if code == 0:
        complain_of_pointer(b"realloc", p, b"no block is allocated there (freed before?)")
    before = rt_class_size[code // BIN_BYTES] if code < BIN_END else profile_block_bytes(&allocator().store.arena, p)
    if bytes <= before and (before <= SHRINK_KEEP or bytes > before // 2):
        return p
    return realloc_move(p, before, bytes)


cdef inline void* rt_realloc "rt_realloc"(void* p, size_t bytes) noexcept nogil:
    # As glibc does, and programs on Linux expect: realloc(p, 0) frees p and returns NULL.
    if bytes == 0 and p != NULL:
        rt_free(p)
        return NULL
    return realloc_nonzero(p, bytes)


cdef inline void* rt_reallocarray "rt_reallocarray"(void* p, size_t count, size_t size) noexcept nogil:
    cdef size_t bytes = 0
    if not rt_multiply(count, size, &bytes):
        rt_set_errno(ENOMEM)
        return NULL
    return rt_realloc(p, bytes)


cdef inline void* malloc_aligned(size_t alignment, size_t bytes) noexcept nogil:
    # `alignment` is a power of two. No block ever begins elsewhere than at its own start: free needs no special case.
    # (The table of classes is final once the allocator is open.)
    cdef uint32_t class_ = class_of_aligned(bytes, alignment) if allocator_open() else 0
    if class_:
        return rt_malloc(rt_class_size[class_])
    return malloc_large_aligned(bytes, alignment, False)


cdef inline bint is_power_of_two(size_t n) noexcept nogil:
    return n != 0 and n & (n - 1) == 0


cdef inline void* rt_memalign "rt_memalign"(size_t alignment, size_t bytes) noexcept nogil:
    # As glibc: an alignment that is no power of two is rounded up to one.
    cdef size_t power = sizeof(void*)
    while power < alignment and power <= RT_LARGEST_REQUEST:
        power *= 2
    if power < alignment:
        rt_set_errno(EINVAL)
        return NULL
    return malloc_aligned(power, bytes)


cdef inline void* rt_aligned_alloc "rt_aligned_alloc"(size_t alignment, size_t bytes) noexcept nogil:
    if not is_power_of_two(alignment):
        rt_set_errno(EINVAL)
        return NULL
    return malloc_aligned(alignment, bytes)


cdef inline int rt_posix_memalign "rt_posix_memalign"(void** result, size_t alignment, size_t bytes) noexcept nogil:
    # POSIX: the answer is returned, errno stays, and *result stays on failure.
    cdef int saved = rt_get_errno()
    cdef void* p
    if not is_power_of_two(alignment) or alignment % sizeof(void*):
        return EINVAL
    p = malloc_aligned(alignment, bytes)
    rt_set_errno(saved)
    if p == NULL:
        return ENOMEM
    result[0] = p
    return 0


cdef inline void* rt_valloc "rt_valloc"(size_t bytes) noexcept nogil:
    if not allocator_open():
        rt_set_errno(ENOMEM)
        return NULL
    return malloc_aligned(allocator().store.arena.page_bytes, bytes)


cdef inline void* rt_pvalloc "rt_pvalloc"(size_t bytes) noexcept nogil:
    cdef size_t page
    if not allocator_open() or bytes > RT_LARGEST_REQUEST:
        rt_set_errno(ENOMEM)
        return NULL
    page = allocator().store.arena.page_bytes
    bytes = (bytes + page - 1) & ~(page - 1)
    return malloc_aligned(page, bytes if bytes else page)


cdef inline size_t rt_usable_size "rt_usable_size"(void* p) noexcept nogil:
    return block_bytes(p) if p != NULL else 0


cdef inline void rt_free_sized "rt_free_sized"(void* p, size_t bytes) noexcept nogil:
    rt_free(p)


cdef inline void rt_free_aligned_sized "rt_free_aligned_sized"(void* p, size_t alignment, size_t bytes) noexcept nogil:
    rt_free(p)


cdef inline int rt_trim "rt_trim"(size_t pad) noexcept nogil:
    # malloc_trim: give back what can be given back now, what other threads cache at their next tick; 1 when memory went back
    # to the kernel.
    cdef Allocator* a = allocator()
    cdef Heap* h = heap_or_null()
    if not allocator_open():
        return 0
    heaps_flush(&a.store, h)
    if RT_PERCPU_BUILT:
        cpu_heaps_flush(a)
    transfer_drain(&a.store.transfer, &a.store.arena.pages, True)
    return purge_everything(&a.store, &a.purge, h)


cdef inline int rt_emergency_flush "rt_emergency_flush"() noexcept nogil:
    # malloc_trim, and more: also what sleeping threads have not seen come home, and what comes home within the next second
    # follows at once. 1 when memory went back to the kernel.
    return flush_all(heap_or_null()) if allocator_open() else 0
