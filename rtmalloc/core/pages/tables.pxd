# The arena's tables and the memory behind its segments, made accessible as they are needed.
# Nothing is charged, locked or dumped that is not in use.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.alternatives.lookup cimport lookup_open_headers, lookup_open_radix
from rtmalloc.core.base._options cimport RT_OPTION_huge_page_us, RT_OPTION_huge_pages, RT_OPTION_populate_kib
from rtmalloc.core.base.atomics cimport rt_load_acquire_u64, rt_store_relaxed_u32, rt_swap_if_u64
from rtmalloc.core.base.config cimport (
    RT_HEADER_SLICES, RT_LOOKUP, RT_LOOKUP_RADIX, RT_SEGMENT_BYTES, RT_SLICE_SHIFT, RT_SLICE_WORDS,
)
from rtmalloc.core.base.platform cimport (
    rt_os_huge_pages, rt_os_map_at, rt_os_open, rt_os_populate, rt_os_shut, rt_os_unmap,
)
from rtmalloc.core.pages.growth cimport SEGMENTS_GIVE_UP, SEGMENTS_OPEN_DENSE
from rtmalloc.core.pages.huge_pages cimport HUGE_REFUSED, HUGE_WELCOME, huge_pages_ask
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.types cimport Arena, Span

cdef enum:
    TABLE_STEP = 4096          # slices (64 MiB of them) whose table entries are made accessible at a time


cdef inline int tables_open_part(char* table, size_t entry, uint64_t first, uint64_t end, size_t page) noexcept nogil:
    # Make entries [first, end) of a table accessible, in whole pages.
    cdef size_t low = (<size_t>table + first * entry) & ~(page - 1)
    cdef size_t high = (<size_t>table + end * entry + page - 1) & ~(page - 1)
    return rt_os_open(<void*>low, high - low)


cdef inline int tables_open(Arena* a, uint64_t slices) noexcept nogil:
    # Make the per-slice tables accessible for slices below `slices`, in steps; 0 on success. Doing it twice is harmless.
    cdef uint64_t first = rt_load_acquire_u64(&a.slice_count)
    cdef uint64_t seen = first
    if slices <= first:
        return 0
    if not RT_HEADER_SLICES:
        # (There any pointer below slice_count is looked up in the memory of its segment.)
        slices = (slices + TABLE_STEP - 1) // TABLE_STEP * TABLE_STEP
    if slices > a.slice_limit:
        slices = a.slice_limit
    if (
        tables_open_part(<char*>a.spans, sizeof(Span), first, slices, a.page_bytes)
        or tables_open_part(<char*>a.bits, RT_SLICE_WORDS * sizeof(uint64_t), first, slices, a.page_bytes)
        or tables_open_part(<char*>a.tags, sizeof(uint32_t), first, slices, a.page_bytes)
        or (RT_LOOKUP == RT_LOOKUP_RADIX and lookup_open_radix(a, first, slices))
    ):
        return -1
    # Only upwards: another thread may have opened more.
    while seen < slices and not rt_swap_if_u64(&a.slice_count, &seen, slices):
        pass
    return 0


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
    # The page heap's hook for single runs: map one, or unmap it but for its addresses. 0 on success.
    cdef char* p = (<Arena*>context).base + (<size_t>slice << RT_SLICE_SHIFT)
    cdef size_t bytes = <size_t>count << RT_SLICE_SHIFT
    return rt_os_open(p, bytes) if open else rt_os_shut(p, bytes)


cdef inline int tables_open_segments(void* context, uint32_t first, uint32_t count, int how) noexcept nogil:
    # The page heap's hook: open segments, or give one up again. 0 on success.
    cdef Arena* a = <Arena*>context
    cdef char* p = a.base + first * RT_SEGMENT_BYTES
    if how == SEGMENTS_GIVE_UP:
        rt_os_unmap(p, count * RT_SEGMENT_BYTES)
        return 0
    if not RT_HEADER_SLICES and tables_open(a, <uint64_t>(first + count) * SEGMENT_SLICES):
        return -1
    if a.pages.run_hook != NULL:
        if RT_HEADER_SLICES and lookup_open_headers(p, count):
            return -1
    elif rt_os_map_at(p, count * RT_SEGMENT_BYTES) if a.on_demand else rt_os_open(p, count * RT_SEGMENT_BYTES):
        return -1
    else:
        tables_prepare(a, first, count, how == SEGMENTS_OPEN_DENSE)
    # Memory first where the tags are in it.
    return tables_open(a, <uint64_t>(first + count) * SEGMENT_SLICES) if RT_HEADER_SLICES else 0
