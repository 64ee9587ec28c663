# The arena's tables and the memory behind its segments, mapped as they are needed.
# Nothing is charged, locked or dumped that is not in use.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.alternatives.lookup cimport lookup_open_flat, lookup_open_headers, lookup_open_radix
from rtmalloc.core.base._options cimport RT_OPTION_huge_page_us, RT_OPTION_huge_pages, RT_OPTION_populate_kib
from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u64, rt_store_relaxed_u32, rt_store_release_u64, rt_swap_if_u64,
)
from rtmalloc.core.base.config cimport (
    RT_HEADER_SLICES, RT_LOOKUP, RT_LOOKUP_FLAT, RT_LOOKUP_RADIX, RT_SEGMENT_BYTES, RT_SLICE_SHIFT, RT_SLICE_WORDS,
)
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport (
    RT_OS_MAPPED, RT_OS_REFUSED, rt_os_huge_pages, rt_os_map_at, rt_os_populate, rt_os_release,
)
from rtmalloc.core.pages.growth cimport SEGMENTS_DESCRIBE, SEGMENTS_GIVE_UP, SEGMENTS_OPEN_DENSE
from rtmalloc.core.pages.huge_pages cimport HUGE_REFUSED, HUGE_WELCOME, huge_pages_ask
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.summary cimport summary_bytes
from rtmalloc.core.types cimport Arena, Segment, Span

cdef enum:
    TABLES = 5                 # with an entry per slice, segment or word of a summary:
    TABLE_SPANS = 0
    TABLE_BITS = 1
    TABLE_TAGS = 2
    TABLE_SEGMENTS = 3
    TABLE_SUMMARIES = 4
    TABLE_STEP_FIRST = 1024    # slices (16 MiB of them) whose table entries are mapped at a time, at first ...
    TABLE_STEP = 4096          # ... and once there are so many


cdef inline size_t table_bytes(int table, uint64_t slices) noexcept nogil:
    # Bytes of a table for so many slices; 0 where the tags stand elsewhere (alternatives/lookup.pxd).
    if table == TABLE_SPANS:
        return slices * sizeof(Span)
    if table == TABLE_BITS:
        return slices * RT_SLICE_WORDS * sizeof(uint64_t)
    if table == TABLE_SEGMENTS:
        return (slices + SEGMENT_SLICES - 1) // SEGMENT_SLICES * sizeof(Segment)
    if table == TABLE_SUMMARIES:
        return summary_bytes(<uint32_t>((slices + SEGMENT_SLICES - 1) // SEGMENT_SLICES))
    return 0 if RT_HEADER_SLICES or RT_LOOKUP == RT_LOOKUP_FLAT else slices * sizeof(uint32_t)


cdef inline char** table_place(Arena* a, int table) noexcept nogil:
    # Where the address of a table stands: the start of a page, set while the arena is opened.
    if table == TABLE_SPANS:
        return <char**>&a.spans
    if table == TABLE_BITS:
        return <char**>&a.bits
    if table == TABLE_SEGMENTS:
        return <char**>&a.pages.segments
    if table == TABLE_SUMMARIES:
        return <char**>&a.pages.summaries
    return <char**>&a.tags


cdef inline size_t table_end(const Arena* a, int table, uint64_t slices) noexcept nogil:
    # Bytes that are mapped of a table with entries for so many slices: whole pages.
    return (table_bytes(table, slices) + a.page_bytes - 1) & ~(a.page_bytes - 1)


cdef inline int table_map(Arena* a, int table, uint64_t first, uint64_t end, bint open) noexcept nogil:
    # Map the entries of slices [first, end) in one table, or unmap them. RT_OS_MAPPED on success, else why not.
    cdef size_t low = table_end(a, table, first)
    cdef size_t bytes = table_end(a, table, end) - low
    cdef char* p = table_place(a, table)[0] + low
    if bytes == 0:
        return RT_OS_MAPPED
    return rt_os_map_at(p, bytes) if open else rt_os_release(p, bytes)


cdef inline int tables_map(Arena* a, uint64_t first, uint64_t end) noexcept nogil:
    # Map the entries of slices [first, end) in all tables, or none. RT_OS_MAPPED on success, else why not.
    cdef int answer = RT_OS_MAPPED
    cdef int i = 0
    if RT_LOOKUP == RT_LOOKUP_FLAT and lookup_open_flat(a, first, end):
        return RT_OS_REFUSED
    if RT_LOOKUP == RT_LOOKUP_RADIX and lookup_open_radix(a, first, end):
        return RT_OS_REFUSED
    while i < TABLES and answer == RT_OS_MAPPED:
        answer = table_map(a, i, first, end, True)
        i += 1
    if answer != RT_OS_MAPPED:
        # The last one was not mapped.
        while i > 1:
            i -= 1
            table_map(a, i - 1, first, end, False)
    return answer


cdef inline int tables_open(Arena* a, uint64_t slices) noexcept nogil:
    # See to it that slices below `slices` have entries in all tables, and in steps further ones. RT_OS_MAPPED on success,
    # else why not.
    cdef uint64_t first, end
    cdef uint64_t step = TABLE_STEP if slices >= TABLE_STEP else TABLE_STEP_FIRST
    cdef int answer = RT_OS_MAPPED
    lock_take(&a.tables_lock)
    first = <uint64_t>a.pages.described * SEGMENT_SLICES
    if slices > first:
        end = (slices + step - 1) // step * step
        if end > a.slice_limit:
            end = a.slice_limit
        answer = tables_map(a, first, end)
        if answer == RT_OS_REFUSED and end > slices:
            end = slices
            answer = tables_map(a, first, end)
        if answer == RT_OS_MAPPED:
            rt_store_relaxed_u32(&a.pages.described, <uint32_t>(end // SEGMENT_SLICES))
            if not RT_HEADER_SLICES:
                rt_store_release_u64(&a.slice_count, end)
    lock_drop(&a.tables_lock)
    return answer


cdef inline void tables_raise(Arena* a, uint64_t slices) noexcept nogil:
    # (Where the tags are in the segments.) The memory of the slices below `slices` is there.
    cdef uint64_t seen = rt_load_acquire_u64(&a.slice_count)
    while seen < slices and not rt_swap_if_u64(&a.slice_count, &seen, slices):
        pass


cdef inline void tables_prepare(Arena* a, uint32_t first, uint32_t count, bint dense) noexcept nogil:
    # Fresh segments get huge pages and are filled in ahead where the options say so.
    cdef int64_t huge = a.options.value[RT_OPTION_huge_pages] if a.options != NULL else -1
    cdef int64_t populate = a.options.value[RT_OPTION_populate_kib] * 1024 if a.options != NULL and dense else 0
    cdef char* p = a.base + first * RT_SEGMENT_BYTES
    cdef int answer = HUGE_WELCOME if huge > 0 else HUGE_REFUSED
    cdef uint32_t s
    if huge == 0 and dense:
        answer = huge_pages_ask(
            &a.huge_pages, p, count, <uint32_t>a.page_bytes, a.options.value[RT_OPTION_huge_page_us]
        )
    if answer != HUGE_REFUSED:
        for s in range(first, first + count):
            rt_store_relaxed_u32(&a.pages.segments[s].huge, 1)
    if answer == HUGE_WELCOME:
        rt_os_huge_pages(p, count * RT_SEGMENT_BYTES, True)
    if populate > <int64_t>RT_SEGMENT_BYTES:
        populate = RT_SEGMENT_BYTES
    if populate > 0:
        for s in range(first, first + count):
            rt_os_populate(a.base + s * RT_SEGMENT_BYTES, <size_t>populate)


cdef inline int tables_open_run(void* context, uint32_t slice, uint32_t count, bint open) noexcept nogil:
    # The page heap's hook for single runs: map one, or unmap it. 0 on success.
    cdef char* p = (<Arena*>context).base + (<size_t>slice << RT_SLICE_SHIFT)
    cdef size_t bytes = <size_t>count << RT_SLICE_SHIFT
    return rt_os_map_at(p, bytes) if open else rt_os_release(p, bytes)


cdef inline int tables_open_segments(void* context, uint32_t first, uint32_t count, int how) noexcept nogil:
    # The page heap's hook: open segments, describe them, or give them up again. RT_OS_MAPPED on success, else why not.
    cdef Arena* a = <Arena*>context
    cdef char* p = a.base + first * RT_SEGMENT_BYTES
    cdef uint64_t end = <uint64_t>(first + count) * SEGMENT_SLICES
    cdef int answer = RT_OS_MAPPED
    if how == SEGMENTS_DESCRIBE:
        return tables_open(a, end)
    if how == SEGMENTS_GIVE_UP:
        return rt_os_release(p, count * RT_SEGMENT_BYTES)
    if a.pages.run_hook == NULL:
        answer = rt_os_map_at(p, count * RT_SEGMENT_BYTES)
        if answer == RT_OS_MAPPED:
            tables_prepare(a, first, count, how == SEGMENTS_OPEN_DENSE)
    elif RT_HEADER_SLICES:
        answer = lookup_open_headers(p, count)
    if RT_HEADER_SLICES and answer == RT_OS_MAPPED:
        tables_raise(a, end)
    return answer
