# Numbers about the whole allocator, gathered on demand by walking tags and bitmaps: nothing here is counted on a fast
# path. The walk takes no lock, so under load the numbers are those of slightly different instants.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u32, rt_load_relaxed_u16, rt_load_relaxed_u32, rt_load_relaxed_u64,
)
from rtmalloc.core.base.attributes cimport RT_STATIC_ASSERT, cold_void
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.spans.central cimport CLASSES_MOST
from rtmalloc.core.base.complain cimport COMPLAINT_BYTES, text_append, text_append_number
from rtmalloc.core.heaps.heap cimport REMOTE_SLOTS, Heap, HeapCounters, bin_length
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.pages.pagemap cimport TAG_LARGE, TAG_SAMPLED, tag_class, tag_code, tag_of_slice, tag_owner
from rtmalloc.core.heaps.percpu cimport percpu_mode, rt_percpu
from rtmalloc.core.base.platform cimport rt_os_complain, rt_os_resident
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES, Segment
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size
from rtmalloc.core.spans.span cimport Span
from rtmalloc.core.heaps.thread cimport Allocator

cdef extern from "base/config.h":
    enum:
        RT_SLICE_BYTES
        RT_SLICE_SHIFT

cdef enum:
    BIN_MOST = 4096            # the greatest bin_max (options.h)

cdef struct ClassStats:
    # One size class, by the same walk.
    uint64_t spans
    uint64_t owned             # spans that a thread owns; the others are in the central store or full
    uint64_t objects           # in all its spans
    uint64_t free              # of them, in nobody's bin or hand

cdef struct Stats:
    # All in bytes unless said otherwise.
    uint64_t allocated         # in blocks that programs hold, at their usable size (objects in bins count as held)
    uint64_t cached            # capacity granted to all bins: an upper bound of what they hold
    uint64_t active            # slices and mappings in use
    uint64_t dirty             # free slices that may be resident, muzzy ones included
    uint64_t muzzy             # free slices given to the kernel by MADV_FREE: it takes them when it needs memory
    uint64_t resident          # pages of arena and giants that the kernel has backed
    uint64_t metadata          # resident pages of the tables, and heaps
    uint64_t reserved          # address space of the arena
    uint64_t giants            # in mappings of their own
    uint64_t spans             # number of spans
    uint64_t large_blocks      # number of large blocks in the arena
    uint64_t threads           # threads that have a heap now
    uint64_t heaps             # heaps ever made
    uint64_t purge_calls       # madvise calls
    uint64_t purged            # bytes given back by them
    uint64_t return_calls      # madvise calls for pages inside spans
    uint64_t returned          # bytes given back by them
    uint64_t return_raced      # times that somebody else was using such a page after all
    uint64_t wanted_back       # bytes used again after they had been given back
    uint64_t spans_formed
    uint64_t spans_released
    uint64_t transfer_hits
    uint64_t transfer_misses
    uint64_t adopted           # spans taken from the central store
    uint64_t abandoned         # spans left there by exiting threads
    uint64_t remaps            # large blocks moved by page tables
    uint64_t spans_retired     # owned spans released because their last object came home
    uint64_t emergency_flushes # flushes of everything, by whomever
    uint64_t refusals          # of them, because the kernel refused memory
    uint64_t alarms            # of them, because the kernel said that memory is short
    uint64_t committed         # segments that are accessible; without giants: active + dirty + clean = committed + giants
    uint64_t clean             # free slices that hold no memory
    uint64_t huge              # segments for which huge pages were asked
    uint64_t budget_taken      # part of `cached` that was taken off the accounts of sleeping threads
    uint64_t unmapped          # number of idle segments whose addresses were given up
    uint64_t caches            # CACHES_* (percpu.pxd): whose the caches are
    uint64_t cpus              # CPUs that have a heap
    uint64_t cpu_aborts        # restartable sequences that were begun anew
    HeapCounters counters      # summed over all heaps


cdef struct HeapStats:
    # One heap, which is one thread's or, after its end, waits for the next one. Read while that thread works: each number
    # is one that was true a moment ago, but they need not fit together.
    uint64_t id                # of the heap
    uint64_t live              # 1 while a thread has it
    uint64_t thread            # the kernel's number of that thread, or of the last one; 0: a CPU's heap
    uint64_t lives             # threads that have had it
    uint64_t cached            # bytes of the free objects in its bins, its excess batches and its sender's cache
    uint64_t capacity          # bytes that its bins may hold
    uint64_t spans             # spans that it owns
    uint64_t span_bytes        # address space that these take
    uint64_t span_free         # bytes of free objects in them
    HeapCounters counters


cdef inline void stats_add_counters(HeapCounters* sum, const HeapCounters* one) noexcept nogil:
    # HeapCounters is nothing but 64-bit counters.
    cdef uint64_t* total = <uint64_t*>sum
    cdef const uint64_t* part = <const uint64_t*>one
    cdef size_t i
    for i in range(sizeof(HeapCounters) // sizeof(uint64_t)):
        total[i] += part[i]


cdef inline void stats_walk(Allocator* a, Stats* st, ClassStats* classes) noexcept nogil:
    # `classes` has rt_class_count zeroed entries, or is NULL.
    cdef uint64_t slice = 0
    cdef uint64_t end = <uint64_t>page_heap_opened(&a.store.arena.pages) * SEGMENT_SLICES
    cdef uint32_t tag, class_, w, objects, free
    cdef Span* s
    while slice < end:
        if not rt_load_relaxed_u32(&a.store.arena.pages.segments[slice // SEGMENT_SLICES].mapped):
            slice += SEGMENT_SLICES
            continue
        tag = tag_of_slice(&a.store.arena, slice)
        s = &a.store.arena.spans[slice]
        class_ = tag_class(tag)
        if tag_code(tag) == TAG_LARGE:
            st.large_blocks += 1
            st.allocated += <uint64_t>s.slices << RT_SLICE_SHIFT
        elif tag_code(tag) == TAG_SAMPLED and rt_load_relaxed_u32(&s.index) == slice:
            st.allocated += <uint64_t>s.slices << RT_SLICE_SHIFT
        elif 0 < class_ < rt_class_count and rt_load_relaxed_u32(&s.index) == slice:
            objects = rt_load_relaxed_u16(&s.objects)
            free = 0
            for w in range((objects + 63) // 64):
                free += rt_count_bits(rt_load_relaxed_u64(&s.bits[w]))
            st.spans += 1
            if classes != NULL:
                classes[class_].spans += 1
                classes[class_].owned += tag_owner(tag) != 0
                classes[class_].objects += objects
                classes[class_].free += free
            st.allocated += <uint64_t>(objects - free) * rt_class_size[class_]
        slice += 1


cdef inline uint64_t heap_cached(Heap* h) noexcept nogil:
    # Bytes of free objects between the thread and its spans. A bin's length follows from two fields that its owner may be
    # changing: between them a bin seems one object longer or shorter, and no length is believed beyond what it may be.
    cdef uint64_t total = 0
    cdef int32_t length
    cdef uint32_t c, i
    for c in range(1, rt_class_count):
        length = bin_length(h, &h.bins[c])
        if 0 < length <= BIN_MOST:
            total += <uint64_t>length * rt_class_size[c]
        if h.sources[c].excess.span != NULL:
            total += <uint64_t>rt_count_bits(h.sources[c].excess.mask) * rt_class_size[c]
    for i in range(REMOTE_SLOTS):
        if h.remote[i].span != NULL:
            total += <uint64_t>rt_count_bits(h.remote[i].mask) * h.remote[i].size
    return total


cdef inline void stats_walk_owners(Allocator* a, HeapStats* of, uint32_t count) noexcept nogil:
    # Who owns which span: of[i] is heap i + 1's.
    cdef uint64_t slice
    cdef uint64_t end = <uint64_t>page_heap_opened(&a.store.arena.pages) * SEGMENT_SLICES
    cdef uint32_t tag, class_, w
    cdef HeapStats* one
    cdef Span* s
    for slice in range(end):
        tag = tag_of_slice(&a.store.arena, slice)
        class_ = tag_class(tag)
        s = &a.store.arena.spans[slice]
        if 0 < tag_owner(tag) <= count and 0 < class_ < rt_class_count and rt_load_relaxed_u32(&s.index) == slice:
            one = &of[tag_owner(tag) - 1]
            one.spans += 1
            one.span_bytes += <uint64_t>s.slices << RT_SLICE_SHIFT
            for w in range((rt_load_relaxed_u16(&s.objects) + 63) // 64):
                one.span_free += <uint64_t>rt_count_bits(rt_load_relaxed_u64(&s.bits[w])) * rt_class_size[class_]


cdef inline uint32_t stats_of_heaps(Allocator* a, HeapStats* of, uint32_t most) noexcept nogil:
    # Fill of[0 .. most - 1], zeroed by the caller, with heaps 1, 2, ...; how many heaps there are. `of` may be NULL, with
    # `most` 0. No lock that a thread at work takes is taken here.
    cdef uint32_t count = rt_load_acquire_u32(&a.store.heap_count)
    cdef uint32_t i
    cdef Heap* h
    if most > count:
        most = count
    for i in range(most):
        h = <Heap*>a.store.heaps[i + 1]
        of[i].id = h.id
        of[i].live = h.live
        of[i].thread = h.tid
        of[i].lives = h.life
        of[i].cached = heap_cached(h)
        of[i].capacity = <uint64_t>h.granted_bytes if h.granted_bytes > 0 else 0
        of[i].counters = h.counters
    if most:
        stats_walk_owners(a, of, most)
    return count


cdef inline void stats_gather(Allocator* a, Stats* st, ClassStats* classes) noexcept nogil:
    # Fill `st` and, unless it is NULL, `classes`; the caller has zeroed them. The allocator is open.
    cdef uint32_t i
    cdef const Segment* segment
    cdef size_t page = a.store.arena.page_bytes
    cdef size_t opened = <size_t>page_heap_opened(&a.store.arena.pages) * SEGMENT_SLICES * RT_SLICE_BYTES
    stats_walk(a, st, classes)
    st.giants = rt_load_relaxed_u64(&a.giants.bytes)
    st.allocated += st.giants
    st.budget_taken = rt_load_relaxed_u64(&a.store.taken_bytes)
    st.cached = rt_load_relaxed_u64(&a.store.cached_bytes) + st.budget_taken
    lock_take(&a.store.arena.pages.lock)
    st.active = (a.store.arena.pages.used_slices << RT_SLICE_SHIFT) + st.giants
    st.dirty = a.store.arena.pages.dirty_slices << RT_SLICE_SHIFT
    for i in range(a.store.arena.pages.opened):
        segment = &a.store.arena.pages.segments[i]
        st.muzzy += rt_count_bits(segment.muzzy) << RT_SLICE_SHIFT
        st.clean += rt_count_bits(segment.free & ~segment.dirty) << RT_SLICE_SHIFT
        st.committed += <uint64_t>(segment.mapped == 1) * RT_SLICE_BYTES * SEGMENT_SLICES
        st.huge += <uint64_t>rt_load_relaxed_u32(&segment.huge) * RT_SLICE_BYTES * SEGMENT_SLICES
    st.unmapped = a.store.arena.pages.unmapped
    lock_drop(&a.store.arena.pages.lock)
    st.resident = rt_os_resident(a.store.arena.base, opened, page) + st.giants
    st.metadata = stats_metadata(a)
    st.reserved = a.store.arena.slice_limit << RT_SLICE_SHIFT
    st.purge_calls = a.purge.calls
    st.purged = a.purge.slices << RT_SLICE_SHIFT
    st.return_calls = a.purge.spans.calls
    st.returned = a.purge.spans.bytes
    st.return_raced = a.purge.spans.raced
    st.wanted_back = (a.store.arena.pages.wanted_back << RT_SLICE_SHIFT) + a.store.returns_wanted
    st.spans_formed = a.store.spans_formed
    st.spans_released = a.store.spans_released
    st.transfer_hits = a.store.transfer.hits
    st.transfer_misses = a.store.transfer.misses
    st.remaps = a.giants.moved
    st.emergency_flushes = rt_load_relaxed_u64(&a.pressure.flushes)
    st.refusals = rt_load_relaxed_u64(&a.pressure.refusals)
    st.alarms = rt_load_relaxed_u64(&a.pressure.alarms)
    for i in range(rt_class_count):
        st.adopted += a.store.central[i].adopted
        st.abandoned += a.store.central[i].abandoned
    lock_take(&a.heaps_lock)
    st.heaps = a.store.heap_count
    st.threads = a.threads_started - a.threads_ended
    st.caches = percpu_mode()
    st.cpus = a.cpus
    st.cpu_aborts = rt_load_relaxed_u64(&rt_percpu.aborts)
    for i in range(1, a.store.heap_count + 1):
        st.spans_retired += (<Heap*>a.store.heaps[i]).spans_retired
        stats_add_counters(&st.counters, &(<Heap*>a.store.heaps[i]).counters)
    lock_drop(&a.heaps_lock)


cdef inline uint64_t stats_metadata(Allocator* a) noexcept nogil:
    # What the tables take: only the part for opened segments, beyond which nothing is touched.
    cdef uint64_t slices = <uint64_t>page_heap_opened(&a.store.arena.pages) * SEGMENT_SLICES
    cdef uint64_t total = a.store.heap_count * sizeof(Heap)
    cdef size_t page = a.store.arena.page_bytes
    total += rt_os_resident(<char*>a.store.arena.spans, (slices * sizeof(Span) + page) & ~(page - 1), page)
    total += rt_os_resident(
        <char*>(<size_t>a.store.arena.bits & ~(page - 1)), (slices * (RT_SLICE_BYTES // 128) + 2 * page) & ~(page - 1), page
    )
    total += rt_os_resident(<char*>(<size_t>a.store.arena.tags & ~(page - 1)), (slices * 4 + 2 * page) & ~(page - 1), page)
    return total


cdef extern from "calls/stats_names.h" nogil:
    enum:
        RT_STATS_NAME_COUNT
        RT_STATS_COUNTERS_AT
    const char* rt_stats_names[]


cdef inline cold_void stats_print(Allocator* a) noexcept nogil:
    # All numbers to stderr, one per line.
    cdef Stats st
    cdef uint64_t* values = <uint64_t*>&st
    cdef char line[COMPLAINT_BYTES]
    cdef ClassStats classes[CLASSES_MOST]
    cdef size_t at
    cdef int i
    RT_STATIC_ASSERT(sizeof(Stats) == RT_STATS_NAME_COUNT * sizeof(uint64_t))
    RT_STATIC_ASSERT(sizeof(Stats) - sizeof(HeapCounters) == RT_STATS_COUNTERS_AT * sizeof(uint64_t))
    memset(&st, 0, sizeof(st))
    memset(classes, 0, sizeof(classes))
    stats_gather(a, &st, classes)
    for i in range(RT_STATS_NAME_COUNT):
        at = text_append(line, 0, b"rtmalloc: ")
        at = text_append(line, at, rt_stats_names[i])
        at = text_append(line, at, b" ")
        at = text_append_number(line, at, values[i])
        line[at] = c'\n'
        rt_os_complain(line, at + 1)
    for i in range(1, rt_class_count):
        if classes[i].spans:
            at = text_append(line, 0, b"rtmalloc: class ")
            at = text_append_number(line, at, rt_class_size[i])
            at = text_append(line, at, b" spans ")
            at = text_append_number(line, at, classes[i].spans)
            at = text_append(line, at, b" owned ")
            at = text_append_number(line, at, classes[i].owned)
            at = text_append(line, at, b" objects ")
            at = text_append_number(line, at, classes[i].objects)
            at = text_append(line, at, b" free ")
            at = text_append_number(line, at, classes[i].free)
            line[at] = c'\n'
            rt_os_complain(line, at + 1)
