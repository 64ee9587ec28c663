# Numbers about the whole allocator, gathered on demand by walking tags and bitmaps.
# Nothing here is counted on a fast path. The walk takes no lock, so under load the numbers are those of slightly
# different instants.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.alternatives.percpu cimport percpu_mode, rt_percpu
from rtmalloc.core.base._numbers cimport (
    RT_CLASS_STATS_COUNT, RT_HEAP_COUNTERS_COUNT, RT_STATS_COUNT, ClassStats, HeapCounters, HeapStats, Stats,
    rt_class_stats_names, rt_heap_counters_names, rt_stats_names,
)
from rtmalloc.core.base._options cimport RT_OPTION_memory_limit_hard, RT_OPTION_remote_kib
from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u32, rt_load_relaxed_u16, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_load_relaxed_u8,
)
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.base.complain cimport COMPLAINT_BYTES, text_append, text_append_number
from rtmalloc.core.base.config cimport RT_HEADER_SLICES, RT_SEGMENT_BYTES, RT_SLICE_SHIFT, RT_SLICE_WORDS
from rtmalloc.core.base.lock cimport lock_drop, lock_take, rt_lock_sleeps
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_complain, rt_os_process_id, rt_os_resident
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size
from rtmalloc.core.giveback.limiter cimport limiter_soft
from rtmalloc.core.heaps.heap_pool cimport heap_first
from rtmalloc.core.heaps.instance cimport allocator, allocator_open
from rtmalloc.core.pages.limit cimport limit_resident
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.pages.segment cimport SEGMENT_ACCESSIBLE, SEGMENT_SLICES
from rtmalloc.core.pages.tables cimport TABLES, table_end
from rtmalloc.core.pages.tag cimport TAG_LARGE, TAG_SAMPLED, tag_class, tag_code, tag_is_small, tag_of_slice
from rtmalloc.core.spans.span cimport SPAN_CURRENT
from rtmalloc.core.types cimport CLASSES_MOST, Allocator, Heap, Segment, Slot, Span


cdef inline void stats_add_counters(HeapCounters* total, const HeapCounters* part) noexcept nogil:
    # HeapCounters is nothing but 64-bit counters.
    cdef size_t i
    for i in range(RT_HEAP_COUNTERS_COUNT):
        (<uint64_t*>total)[i] += (<const uint64_t*>part)[i]


cdef inline void stats_add_span(Stats* st, ClassStats* classes, uint32_t class_, Span* s) noexcept nogil:
    cdef uint32_t objects = rt_load_relaxed_u16(&s.objects)
    cdef uint32_t free = 0
    cdef uint32_t w
    for w in range((objects + 63) // 64):
        free += rt_count_bits(rt_load_relaxed_u64(&s.bits[w]))
    st.spans += 1
    st.allocated += <uint64_t>(objects - free) * rt_class_size[class_]
    if classes != NULL:
        classes[class_].spans += 1
        classes[class_].current += rt_load_relaxed_u8(&s.state) == SPAN_CURRENT
        classes[class_].objects += objects
        classes[class_].free += free


cdef inline void stats_walk(Allocator* a, Stats* st, ClassStats* classes) noexcept nogil:
    # `classes` has rt_class_count zeroed entries, or is NULL.
    cdef uint64_t slice = 0
    cdef uint64_t end = <uint64_t>page_heap_opened(&a.arena.pages) * SEGMENT_SLICES
    cdef uint32_t tag
    cdef Span* s
    while slice < end:
        if rt_load_acquire_u32(&a.arena.pages.segments[slice // SEGMENT_SLICES].mapped) != SEGMENT_ACCESSIBLE:
            slice += SEGMENT_SLICES
            continue
        tag = tag_of_slice(&a.arena, slice)
        s = &a.arena.spans[slice]
        if tag_code(tag) == TAG_LARGE:
            st.large_blocks += 1
            st.allocated += <uint64_t>s.slices << RT_SLICE_SHIFT
        elif tag_code(tag) == TAG_SAMPLED and rt_load_relaxed_u32(&s.index) == slice:
            st.allocated += <uint64_t>s.slices << RT_SLICE_SHIFT
        elif tag_is_small(tag) and rt_load_relaxed_u32(&s.index) == slice:
            stats_add_span(st, classes, tag_class(tag), s)
        slice += 1


cdef inline uint64_t stats_cached(Heap* h) noexcept nogil:
    # Bytes of free objects between the thread and its spans. A bin's length follows from fields that its thread may be
    # changing: a length that cannot be is taken for 0.
    cdef uint64_t total = 0
    cdef int64_t length
    cdef uint32_t c
    for c in range(1, rt_class_count):
        length = h.bins[c].top - (h.bins[c].limit - h.sources[c].capacity)
        if 0 < length <= h.sources[c].capacity:
            total += <uint64_t>length * rt_class_size[c]
    return total + <uint64_t>(h.allocator.options.value[RT_OPTION_remote_kib] * 1024 - h.home_room)


cdef inline uint32_t stats_of_heaps(Allocator* a, HeapStats* of, HeapCounters* counters, uint32_t most) noexcept nogil:
    # Fill of[0 .. most - 1] and counters[...] with the heaps, the newest first; how many heaps there are. No lock that a
    # thread at work takes is taken here.
    cdef Heap* h = heap_first(a)
    cdef uint32_t i = 0
    while h != NULL:
        if i < most:
            of[i].id = h.id
            of[i].live = h.live
            of[i].thread = h.tid if h.tid or h.cpu else rt_os_process_id()
            of[i].lives = h.life
            of[i].slot = h.slot.number if h.slot != NULL else 0
            of[i].cached = stats_cached(h)
            of[i].capacity = <uint64_t>h.capacity_bytes
            counters[i] = h.counters
        i += 1
        h = h.next
    return i


cdef inline void stats_of_segments(Allocator* a, Stats* st) noexcept nogil:
    cdef uint32_t i
    cdef const Segment* segment
    lock_take(&a.arena.pages.lock)
    st.active = (a.arena.pages.used_slices << RT_SLICE_SHIFT) + st.giants
    st.dirty = a.arena.pages.dirty_slices << RT_SLICE_SHIFT
    for i in range(a.arena.pages.opened):
        segment = &a.arena.pages.segments[i]
        st.muzzy += rt_count_bits(segment.muzzy) << RT_SLICE_SHIFT
        st.clean += rt_count_bits(segment.free & ~segment.dirty) << RT_SLICE_SHIFT
        st.committed += <uint64_t>(segment.mapped == SEGMENT_ACCESSIBLE) * RT_SEGMENT_BYTES
        st.huge += <uint64_t>rt_load_relaxed_u32(&segment.huge) * RT_SEGMENT_BYTES
    st.unmapped = a.arena.pages.unmapped
    st.wanted_back = (a.arena.pages.wanted_back << RT_SLICE_SHIFT) + a.returns_wanted
    lock_drop(&a.arena.pages.lock)


cdef inline uint64_t stats_resident(Allocator* a) noexcept nogil:
    # Bytes of the arena that the kernel has backed.
    cdef uint64_t total = 0
    cdef uint32_t s
    for s in range(page_heap_opened(&a.arena.pages)):
        if rt_load_acquire_u32(&a.arena.pages.segments[s].mapped) == SEGMENT_ACCESSIBLE:
            total += rt_os_resident(a.arena.base + s * RT_SEGMENT_BYTES, RT_SEGMENT_BYTES, a.arena.page_bytes)
    return total


cdef inline uint64_t stats_tables(Allocator* a) noexcept nogil:
    # Bytes of the tables that are mapped.
    cdef uint64_t slices = <uint64_t>rt_load_relaxed_u32(&a.arena.pages.described) * SEGMENT_SLICES
    cdef uint64_t total = 0
    cdef int i
    for i in range(TABLES):
        total += table_end(&a.arena, i, slices)
    return total


cdef inline void stats_of_caches(Allocator* a, Stats* st, HeapCounters* counters) noexcept nogil:
    # Heaps, slots, and what lies between them.
    cdef Heap* h = heap_first(a)
    cdef uint32_t i, c
    while h != NULL:
        st.cached += <uint64_t>h.capacity_bytes
        stats_add_counters(counters, &h.counters)
        h = h.next
    st.slots = a.slot_count
    for i in range(a.slot_count):
        for c in range(rt_class_count):
            st.spans_stolen += a.slots[i].shelves[c].stolen
    lock_take(&a.heaps_lock)
    st.heaps = a.heap_count
    st.threads = a.threads_started - a.threads_ended
    st.cpus = a.cpus
    lock_drop(&a.heaps_lock)
    st.caches = percpu_mode()
    st.cpu_aborts = rt_load_relaxed_u64(&rt_percpu.aborts)


cdef inline void stats_gather(Allocator* a, Stats* st, HeapCounters* counters, ClassStats* classes) noexcept nogil:
    # Fill `st`, `counters` and, unless it is NULL, `classes`; the caller has zeroed them. The allocator is open.
    cdef uint32_t c
    stats_walk(a, st, classes)
    if classes != NULL:
        for c in range(1, rt_class_count):
            classes[c].size = rt_class_size[c]
    st.giants = rt_load_relaxed_u64(&a.giants.bytes)
    st.allocated += st.giants
    stats_of_segments(a, st)
    stats_of_caches(a, st, counters)
    st.resident = stats_resident(a) + st.giants
    st.metadata = stats_metadata(a)
    st.reserved = st.committed + st.giants + stats_tables(a)
    st.purge_calls = a.purge.calls
    st.purged = a.purge.slices << RT_SLICE_SHIFT
    st.return_calls = a.purge.spans.calls
    st.returned = a.purge.spans.bytes
    st.return_raced = a.purge.spans.raced
    st.vector_calls = a.purge.vectors
    st.spans_formed = rt_load_relaxed_u64(&a.spans_formed)
    st.spans_released = rt_load_relaxed_u64(&a.spans_released)
    st.hints = rt_load_relaxed_u64(&a.hints)
    st.lock_misses = rt_load_relaxed_u64(&a.lock_misses)
    st.lock_sleeps = rt_load_relaxed_u64(&rt_lock_sleeps)
    st.transfer_hits = rt_load_relaxed_u64(&a.transfer.hits)
    st.transfer_misses = rt_load_relaxed_u64(&a.transfer.misses)
    st.remaps = rt_load_relaxed_u64(&a.giants.moved)
    st.emergency_flushes = rt_load_relaxed_u64(&a.pressure.flushes)
    st.limit = limiter_soft(a, rt_os_clock_ms())
    st.limit_hard = <uint64_t>a.options.value[RT_OPTION_memory_limit_hard]
    st.limit_heap = limit_resident(a)
    st.limit_rounds = rt_load_relaxed_u64(&a.limit.rounds)
    st.limit_us = rt_load_relaxed_u64(&a.limit.spent_us)
    st.background = rt_load_relaxed_u32(&a.background.state)
    st.refusals = rt_load_relaxed_u64(&a.pressure.refusals)
    st.alarms = rt_load_relaxed_u64(&a.pressure.alarms)


cdef inline cold_void rt_mallinfo "rt_mallinfo"(uint64_t* now) noexcept nogil:
    # Of the arena: bytes that the program holds, bytes that are free and may be resident; bytes in mappings of their own. A
    # bin's content counts as free.
    cdef Allocator* a = allocator()
    cdef Stats st
    cdef Heap* h
    cdef uint64_t cached = 0
    memset(&st, 0, sizeof(st))
    now[0] = now[1] = now[2] = 0
    if not allocator_open():
        return
    stats_walk(a, &st, NULL)
    h = heap_first(a)
    while h != NULL:
        cached += stats_cached(h)
        h = h.next
    lock_take(&a.arena.pages.lock)
    st.active = (a.arena.pages.used_slices + a.arena.pages.dirty_slices) << RT_SLICE_SHIFT
    lock_drop(&a.arena.pages.lock)
    now[0] = st.allocated - cached if st.allocated > cached else 0
    now[1] = st.active - now[0] if st.active > now[0] else 0
    now[2] = rt_load_relaxed_u64(&a.giants.bytes)


cdef inline cold_void rt_malloc_stats "rt_malloc_stats"() noexcept nogil:
    if allocator_open():
        stats_print(allocator())


cdef inline uint64_t stats_table(const Allocator* a, const void* table, uint64_t bytes) noexcept nogil:
    # Resident bytes of a table, in whole pages.
    cdef size_t page = a.arena.page_bytes
    cdef size_t first = <size_t>table & ~(page - 1)
    return rt_os_resident(<char*>first, (<size_t>table + bytes + page - 1 - first) & ~(page - 1), page)


cdef inline uint64_t stats_metadata(Allocator* a) noexcept nogil:
    # What the tables take: only the part for opened segments, beyond which nothing is touched.
    cdef uint64_t slices = <uint64_t>page_heap_opened(&a.arena.pages) * SEGMENT_SLICES
    cdef uint64_t total = 0
    cdef Heap* h = heap_first(a)
    while h != NULL:
        total += sizeof(Heap) + h.cell_top * sizeof(void*)
        h = h.next
    total += stats_table(a, a.arena.spans, slices * sizeof(Span))
    total += stats_table(a, a.arena.bits, slices * RT_SLICE_WORDS * sizeof(uint64_t))
    total += stats_table(a, a.slots, a.slot_count * sizeof(Slot))
    return total + (stats_table(a, a.arena.tags, slices * sizeof(uint32_t)) if not RT_HEADER_SLICES else 0)


cdef inline void stats_print_row(const char* name, uint64_t value) noexcept nogil:
    cdef char line[COMPLAINT_BYTES]
    cdef size_t at = text_append(line, 0, b"rtmalloc: ")
    at = text_append(line, at, name)
    at = text_append(line, at, b" ")
    at = text_append_number(line, at, value)
    line[at] = c'\n'
    rt_os_complain(line, at + 1)


cdef inline void stats_print_class(const ClassStats* one) noexcept nogil:
    # All numbers of a class in one line.
    cdef char line[COMPLAINT_BYTES]
    cdef size_t at = text_append(line, 0, b"rtmalloc: class")
    cdef int i
    for i in range(RT_CLASS_STATS_COUNT):
        at = text_append(line, at, b" ")
        at = text_append(line, at, rt_class_stats_names[i])
        at = text_append(line, at, b" ")
        at = text_append_number(line, at, (<const uint64_t*>one)[i])
    line[at] = c'\n'
    rt_os_complain(line, at + 1)


cdef inline cold_void stats_print(Allocator* a) noexcept nogil:
    # All numbers to stderr, one per line.
    cdef Stats st
    cdef HeapCounters counters
    cdef ClassStats classes[CLASSES_MOST]
    cdef int i
    memset(&st, 0, sizeof(st))
    memset(&counters, 0, sizeof(counters))
    memset(classes, 0, sizeof(classes))
    stats_gather(a, &st, &counters, classes)
    for i in range(RT_STATS_COUNT):
        stats_print_row(rt_stats_names[i], (<uint64_t*>&st)[i])
    for i in range(RT_HEAP_COUNTERS_COUNT):
        stats_print_row(rt_heap_counters_names[i], (<uint64_t*>&counters)[i])
    for i in range(1, rt_class_count):
        if classes[i].spans:
            stats_print_class(&classes[i])
