# The reservation: how much address space the arena gets, and where.
#
# Normally the whole range is one reservation without access, sized from RAM. A process with an address-space limit (or a
# kernel that refuses the reservation) gets a range that is only *intended*: segments are mapped into it one by one.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.alternatives.lookup cimport lookup_reserve
from rtmalloc.core.base.attributes cimport cold_int
from rtmalloc.core.base.config cimport (
    RT_GROUP_BYTES, RT_HEADER_SLICES, RT_LOOKUP, RT_LOOKUP_FLAT, RT_SEGMENT_BYTES, RT_SLICE_SHIFT, RT_SLICE_WORDS,
)
from rtmalloc.core.base.platform cimport (
    rt_os_address_space_limit, rt_os_huge_pages, rt_os_map, rt_os_map_at, rt_os_name, rt_os_page_size,
    rt_os_ram_bytes, rt_os_random, rt_os_reserve, rt_os_unmap,
)
from rtmalloc.core.pages.page_heap cimport page_heap_open
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.summary cimport summary_bytes
from rtmalloc.core.pages.tables cimport tables_open, tables_open_segments
from rtmalloc.core.types cimport Arena, Segment, Span

cdef extern from *:
    """
    #define RT_ARENA_LEAST ((size_t)64 << 30)  /* bytes of reservation where nothing limits it */
    #define RT_ARENA_FLOOR ((size_t)1 << 30)   /* below this a reservation is not worth it: map on demand */
    #define RT_ON_DEMAND_BASE ((size_t)0x1000000000) /* 64 GiB: above any non-PIE program, below 39-bit user space */
    """
    const size_t RT_ARENA_LEAST
    const size_t RT_ARENA_FLOOR
    const size_t RT_ON_DEMAND_BASE


cdef inline size_t reservation_fixed_bytes(uint32_t segments) noexcept nogil:
    # The tables that are accessible from the start, because they are small.
    return segments * sizeof(Segment) + summary_bytes(segments)


cdef inline size_t reservation_slice_bytes(uint64_t slices, size_t page) noexcept nogil:
    # The tables that have an entry per slice: opened with the segments.
    return (
        slices * (sizeof(Span) + RT_SLICE_WORDS * sizeof(uint64_t) + sizeof(uint32_t)) + 3 * page
    )


cdef inline char* reservation_make(size_t bytes) noexcept nogil:
    # A range of `bytes` without access, aligned to a group of segments; NULL when the kernel refuses.
    cdef char* p = <char*>rt_os_reserve(bytes + RT_GROUP_BYTES)
    cdef size_t misfit
    if p == NULL:
        return NULL
    misfit = (RT_GROUP_BYTES - (<size_t>p & (RT_GROUP_BYTES - 1))) & (RT_GROUP_BYTES - 1)
    if misfit:
        rt_os_unmap(p, misfit)
    if misfit < RT_GROUP_BYTES:
        rt_os_unmap(p + misfit + bytes, RT_GROUP_BYTES - misfit)
    return p + misfit


cdef inline char* reservation_intend(size_t bytes) noexcept nogil:
    # An address where segments can be mapped one by one; NULL when the first page already cannot.
    cdef uint64_t random = rt_os_random()
    cdef char* base
    cdef int i
    for i in range(8):
        base = <char*>(RT_ON_DEMAND_BASE + (random % 16384) * RT_GROUP_BYTES)
        if rt_os_map_at(base, RT_SEGMENT_BYTES) == 0:
            rt_os_unmap(base, RT_SEGMENT_BYTES)
            return base
        random = random * 6364136223846793005ULL + 1442695040888963407ULL
    return NULL


cdef inline void reservation_name(Arena* a, size_t bytes, char* fixed_, size_t fixed_bytes, char* table, size_t table_bytes) noexcept nogil:
    # What /proc/PID/maps calls the parts; and no huge pages for tables, whose first touch would cost 2 MiB each.
    rt_os_huge_pages(fixed_, fixed_bytes, False)
    rt_os_huge_pages(table, table_bytes, False)
    rt_os_name(fixed_, fixed_bytes, b"rtmalloc tables")
    rt_os_name(table, table_bytes, b"rtmalloc tables")
    if not a.on_demand:
        rt_os_huge_pages(a.base, bytes, False)
        rt_os_name(a.base, bytes, b"rtmalloc")


cdef inline cold_int reservation_open_sized(Arena* a, size_t bytes, bint on_demand) noexcept nogil:
    # Open an arena of exactly `bytes` (a multiple of the segment size); 1, or 0 with nothing kept.
    cdef uint64_t slices = bytes >> RT_SLICE_SHIFT
    cdef uint32_t segments = <uint32_t>(slices // SEGMENT_SLICES)
    cdef size_t page = rt_os_page_size()
    cdef size_t fixed_bytes = reservation_fixed_bytes(segments)
    cdef size_t table_bytes = reservation_slice_bytes(slices, page)
    cdef char* base = reservation_intend(bytes) if on_demand else reservation_make(bytes)
    cdef char* fixed_ = <char*>rt_os_map(fixed_bytes)
    cdef char* table = <char*>rt_os_reserve(table_bytes)
    if base == NULL or fixed_ == NULL or table == NULL:
        if base != NULL and not on_demand:
            rt_os_unmap(base, bytes)
        if fixed_ != NULL:
            rt_os_unmap(fixed_, fixed_bytes)
        if table != NULL:
            rt_os_unmap(table, table_bytes)
        return 0
    memset(a, 0, sizeof(Arena))
    a.metadata_bytes = fixed_bytes + table_bytes
    a.page_bytes = page
    a.on_demand = on_demand
    a.slice_limit = slices
    a.base = base
    reservation_name(a, bytes, fixed_, fixed_bytes, table, table_bytes)
    page_heap_open(&a.pages, base, segments, on_demand, <Segment*>fixed_, fixed_ + segments * sizeof(Segment))
    a.pages.hook = tables_open_segments
    a.pages.hook_context = a
    # Spans are whole cache lines, and mappings begin on one.
    a.spans = <Span*>table
    table += slices * sizeof(Span)
    a.bits = <uint64_t*>table
    a.tags = <uint32_t*>(table + slices * RT_SLICE_WORDS * sizeof(uint64_t))
    if RT_LOOKUP == RT_LOOKUP_FLAT and lookup_reserve(a):
        return 0
    # (With tags in the segments a slice is in use only once its segment is.)
    return RT_HEADER_SLICES or tables_open(a, 1) == 0


cdef inline cold_int reservation_open(Arena* a) noexcept nogil:
    # Reserve as much as this process may have; 1, or 0 when not even a small arena can be had.
    cdef size_t limit = rt_os_address_space_limit()
    cdef size_t bytes
    cdef size_t ram = rt_os_ram_bytes()
    if limit == <size_t>-1:
        bytes = RT_ARENA_LEAST
        while bytes < 4 * ram:
            bytes *= 2
        while bytes >= RT_ARENA_FLOOR:
            if reservation_open_sized(a, bytes, False):
                return 1
            bytes //= 2
        limit = ram
    # Under a limit: a range that could hold all the limit allows; its tables are about 1.2 % of it.
    bytes = limit & ~(RT_SEGMENT_BYTES - 1)
    if bytes > RT_ARENA_LEAST:
        bytes = RT_ARENA_LEAST
    while bytes >= 8 * RT_SEGMENT_BYTES:
        if reservation_open_sized(a, bytes, True):
            return 1
        bytes = (bytes // 2) & ~(RT_SEGMENT_BYTES - 1)
    return 0
