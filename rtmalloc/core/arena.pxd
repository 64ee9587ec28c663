# The arena: one reserved range of addresses for everything but giants, and the dense tables that describe it. All
# metadata lies outside of the memory that programs write to.
#
# Normally the whole range is one lazily backed mapping, sized from RAM. A process with an address-space limit (or a
# kernel that refuses the reservation) gets a range that is only *intended*: segments are mapped into it one by one.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.atomics cimport rt_store_relaxed_u32
from rtmalloc.core.attributes cimport cold_int
from rtmalloc.core.page_heap cimport PageHeap, page_heap_open, page_heap_summary_bytes
from rtmalloc.core.platform cimport (
    rt_os_address_space_limit, rt_os_huge_pages, rt_os_map, rt_os_map_at, rt_os_name, rt_os_page_size,
    rt_os_ram_bytes, rt_os_random, rt_os_unmap,
)
from rtmalloc.core.segment cimport SEGMENT_SLICES, Segment
from rtmalloc.core.span cimport Span

cdef extern from "config.h":
    enum:
        RT_SLICE_SHIFT
        RT_SLICE_BYTES
        RT_SLICE_WORDS

cdef extern from *:
    """
    #define RT_SEGMENT_BYTES ((size_t)RT_SLICE_BYTES * 64)
    #define RT_ARENA_LEAST ((size_t)64 << 30)  /* bytes of reservation where nothing limits it */
    #define RT_ARENA_FLOOR ((size_t)1 << 30)   /* below this a reservation is not worth it: map on demand */
    #define RT_ON_DEMAND_BASE ((size_t)0x1000000000) /* 64 GiB: above any non-PIE program, below 39-bit user space */
    """
    const size_t RT_SEGMENT_BYTES
    const size_t RT_ARENA_LEAST
    const size_t RT_ARENA_FLOOR
    const size_t RT_ON_DEMAND_BASE

cdef enum:
    HEAP_LIMIT = 65535          # heap ids 1..65535 fit the tag
    MAILBOX_BYTES = 64          # one cache line each (mailbox.pxd)

cdef struct Arena:
    # -- the line that every free reads
    char* base                  # address of slice 0, a multiple of the segment size
    uint64_t slice_count        # 0 before start-up: then every pointer is outside
    uint32_t* tags              # [slice_count], see pagemap.pxd
    # -- the rest
    Span* spans                 # [slice_count], one per slice; a span's is that of its first slice
    uint64_t* bits              # [slice_count * RT_SLICE_WORDS], a span's begin at its first slice
    char* mailboxes             # [heap_limit] cache lines
    uint32_t heap_limit         # ids that may be used: 1..heap_limit
    bint on_demand
    size_t page_bytes           # of the kernel: 4096, or 16 or 64 KiB on some AArch64 systems
    size_t metadata_bytes       # reserved for the tables; resident only where touched
    PageHeap pages


cdef inline size_t arena_table_bytes(uint64_t slices, uint32_t heap_limit) noexcept nogil:
    # What the tables of an arena take: all of it address space, resident only where touched.
    cdef uint64_t segments = slices // SEGMENT_SLICES
    return (
        slices * (sizeof(uint32_t) + sizeof(Span) + RT_SLICE_WORDS * sizeof(uint64_t))
        + segments * sizeof(Segment)
        + page_heap_summary_bytes(<uint32_t>segments)
        + <size_t>(heap_limit + 1) * MAILBOX_BYTES
        + 4 * 4096
    )


cdef inline char* arena_reserve(size_t bytes) noexcept nogil:
    # A lazily backed range of `bytes`, aligned to a segment; NULL when the kernel refuses.
    cdef char* p = <char*>rt_os_map(bytes + RT_SEGMENT_BYTES)
    cdef size_t misfit
    if p == NULL:
        return NULL
    misfit = (RT_SEGMENT_BYTES - (<size_t>p & (RT_SEGMENT_BYTES - 1))) & (RT_SEGMENT_BYTES - 1)
    if misfit:
        rt_os_unmap(p, misfit)
    if misfit < RT_SEGMENT_BYTES:
        rt_os_unmap(p + misfit + bytes, RT_SEGMENT_BYTES - misfit)
    return p + misfit


cdef inline char* arena_intend(size_t bytes) noexcept nogil:
    # An address where segments can be mapped one by one; NULL when the first page already cannot.
    cdef uint64_t random = rt_os_random()
    cdef char* base
    cdef int i
    for i in range(8):
        base = <char*>(RT_ON_DEMAND_BASE + (random % 16384) * RT_SEGMENT_BYTES)
        if rt_os_map_at(base, RT_SEGMENT_BYTES) == 0:
            rt_os_unmap(base, RT_SEGMENT_BYTES)
            return base
        random = random * 6364136223846793005ULL + 1442695040888963407ULL
    return NULL


cdef inline cold_int arena_open_sized(Arena* a, size_t bytes, bint on_demand, uint32_t heap_limit) noexcept nogil:
    # Open an arena of exactly `bytes` (a multiple of the segment size); 1, or 0 with nothing kept.
    cdef uint64_t slices = bytes >> RT_SLICE_SHIFT
    cdef uint32_t segments = <uint32_t>(slices // SEGMENT_SLICES)
    cdef size_t table_bytes = arena_table_bytes(slices, heap_limit)
    cdef char* base = arena_intend(bytes) if on_demand else arena_reserve(bytes)
    cdef char* table
    if base == NULL:
        return 0
    table = <char*>rt_os_map(table_bytes)
    if table == NULL:
        if not on_demand:
            rt_os_unmap(base, bytes)
        return 0
    # Huge pages would make the first touch of each table cost 2 MiB.
    rt_os_huge_pages(table, table_bytes, False)
    rt_os_name(table, table_bytes, b"rtmalloc tables")
    if not on_demand:
        rt_os_huge_pages(base, bytes, False)
        rt_os_name(base, bytes, b"rtmalloc")
    memset(a, 0, sizeof(Arena))
    a.metadata_bytes = table_bytes
    a.page_bytes = rt_os_page_size()
    a.on_demand = on_demand
    a.heap_limit = heap_limit
    # Largest alignment first: mailboxes and spans are whole cache lines.
    a.mailboxes = table
    table += <size_t>(heap_limit + 1) * MAILBOX_BYTES
    a.spans = <Span*>table
    table += slices * sizeof(Span)
    a.bits = <uint64_t*>table
    table += slices * RT_SLICE_WORDS * sizeof(uint64_t)
    a.tags = <uint32_t*>table
    table += slices * sizeof(uint32_t)
    page_heap_open(
        &a.pages, base, segments, on_demand, <Segment*>table, table + segments * sizeof(Segment)
    )
    a.base = base
    a.slice_count = slices
    return 1


cdef inline cold_int arena_open(Arena* a) noexcept nogil:
    # Reserve as much as this process may have; 1, or 0 when not even a small arena can be had.
    cdef size_t limit = rt_os_address_space_limit()
    cdef size_t bytes
    cdef size_t ram = rt_os_ram_bytes()
    if limit == <size_t>-1:
        bytes = RT_ARENA_LEAST
        while bytes < 4 * ram:
            bytes *= 2
        while bytes >= RT_ARENA_FLOOR:
            if arena_open_sized(a, bytes, False, HEAP_LIMIT):
                return 1
            bytes //= 2
        limit = ram
    # Under a limit: a range that could hold all the limit allows; its tables are about 1.2 % of it.
    bytes = limit & ~(RT_SEGMENT_BYTES - 1)
    if bytes > RT_ARENA_LEAST:
        bytes = RT_ARENA_LEAST
    while bytes >= 8 * RT_SEGMENT_BYTES:
        if arena_open_sized(a, bytes, True, 4096):
            return 1
        bytes = (bytes // 2) & ~(RT_SEGMENT_BYTES - 1)
    return 0


cdef inline uint64_t arena_slice_of(const Arena* a, const void* p) noexcept nogil:
    # Number of the slice of `p`; not below slice_count when `p` lies outside.
    return (<size_t>p - <size_t>a.base) >> RT_SLICE_SHIFT


cdef inline char* arena_address(const Arena* a, uint64_t slice) noexcept nogil:
    return a.base + (slice << RT_SLICE_SHIFT)


cdef inline Span* arena_span_new(Arena* a, uint32_t slice, uint32_t slices) noexcept nogil:
    # The span entry of a run that is ours: its place is filled in, and interior entries point to the first.
    cdef Span* s = &a.spans[slice]
    cdef uint32_t i
    s.base = arena_address(a, slice)
    s.bits = &a.bits[<size_t>slice * RT_SLICE_WORDS]
    s.slices = slices
    for i in range(slices):
        rt_store_relaxed_u32(&a.spans[slice + i].index, slice)
    return s
