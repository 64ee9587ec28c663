# The arena: one reserved range of addresses for everything but giants, and the dense tables that describe it. All
# metadata lies outside of the memory that programs write to.
#
# Normally the whole range is one reservation without access, sized from RAM, of which segments and the tables for them
# are opened as they are needed: nothing is charged, locked or dumped that is not in use. A process with an address-space
# limit (or a kernel that refuses the reservation) gets a range that is only *intended*: segments are mapped into it one
# by one.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.base.atomics cimport rt_load_acquire_u64, rt_store_relaxed_u32, rt_store_relaxed_u64, rt_swap_if_u64
from rtmalloc.core.base.attributes cimport cold_int
from rtmalloc.core.pages.huge cimport HUGE_REFUSED, HUGE_WELCOME, HugePages, huge_pages_ask
from rtmalloc.core.base.options cimport Options, RT_OPTION_huge_page_us, RT_OPTION_huge_pages, RT_OPTION_populate_kib
from rtmalloc.core.pages.page_heap cimport (
    SEGMENTS_GIVE_UP, SEGMENTS_OPEN_DENSE, PageHeap, page_heap_open, page_heap_summary_bytes,
)
from rtmalloc.core.base.platform cimport (
    rt_os_address_space_limit, rt_os_huge_pages, rt_os_map, rt_os_map_at, rt_os_name, rt_os_open, rt_os_page_size,
    rt_os_populate, rt_os_ram_bytes, rt_os_random, rt_os_reserve, rt_os_reserve_zeros, rt_os_shut, rt_os_unmap,
)
from rtmalloc.core.base.radix cimport RADIX_PAGE_SHIFT, RadixMap, radix_place
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES, Segment
from rtmalloc.core.spans.span cimport Span

cdef extern from "base/config.h":
    enum:
        RT_SLICE_SHIFT
        RT_SLICE_BYTES
        RT_SLICE_WORDS
        RT_GROUP_BYTES
        RT_ADDRESS_BITS
        RT_LOOKUP
        RT_LOOKUP_FLAT
        RT_LOOKUP_HEADER
        RT_LOOKUP_RADIX

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
    TABLE_STEP = 4096           # slices (64 MiB of them) whose table entries are made accessible at a time
    MAILBOX_BYTES = 64          # one cache line each (mailbox.pxd)

cdef struct Arena:
    # -- the line that every free reads
    char* base                  # address of slice 0, a multiple of the segment size
    uint64_t slice_count        # slices whose tables are open, 0 before start-up: pointers beyond them are outside
    uint32_t* tags              # [slice_limit], see pagemap.pxd, which has alternatives:
    uint32_t* flat              # ... a map of all addresses, of which `tags` is a part,
    RadixMap radix              # ... and a radix tree over slice numbers of addresses
    # -- the rest
    uint64_t slice_limit        # slices that the range has
    Span* spans                 # [slice_limit], one per slice; a span's is that of its first slice
    uint64_t* bits              # [slice_limit * RT_SLICE_WORDS], a span's begin at its first slice
    char* mailboxes             # [heap_limit] cache lines
    uint32_t heap_limit         # ids that may be used: 1..heap_limit
    bint on_demand
    size_t page_bytes           # of the kernel: 4096, or 16 or 64 KiB on some AArch64 systems
    size_t metadata_bytes       # reserved for the tables; resident only where touched
    const Options* options      # NULL while the arena is opened
    HugePages huge_pages
    PageHeap pages


cdef inline size_t arena_fixed_bytes(uint32_t segments, uint32_t heap_limit) noexcept nogil:
    # The tables that are accessible from the start: small, or sparsely used.
    return (
        <size_t>(heap_limit + 1) * MAILBOX_BYTES + segments * sizeof(Segment) + page_heap_summary_bytes(segments)
    )


cdef inline size_t arena_slice_bytes(uint64_t slices, size_t page) noexcept nogil:
    # The tables that have an entry per slice: opened with the segments.
    return (
        slices * (sizeof(Span) + RT_SLICE_WORDS * sizeof(uint64_t) + sizeof(uint32_t)) + 3 * page
    )


cdef inline int arena_open_part(char* table, size_t entry, uint64_t first, uint64_t end, size_t page) noexcept nogil:
    # Make entries [first, end) of a table accessible, in whole pages.
    cdef size_t low = (<size_t>table + first * entry) & ~(page - 1)
    cdef size_t high = (<size_t>table + end * entry + page - 1) & ~(page - 1)
    return rt_os_open(<void*>low, high - low)


cdef inline const void* arena_radix_key(const void* p) noexcept nogil:
    # What stands for the slice of `p` in the radix tree, whose unit is a page.
    return <const void*>(<size_t>p >> (RT_SLICE_SHIFT - RADIX_PAGE_SHIFT))


cdef inline int arena_open_radix(Arena* a, uint64_t first, uint64_t end) noexcept nogil:
    # Make the leaves for slices [first, end), so that their places exist whenever a tag is set; 0 on success.
    cdef uint64_t slice = first
    while slice < end:
        if radix_place(&a.radix, arena_radix_key(a.base + (slice << RT_SLICE_SHIFT)), True) == NULL:
            return -1
        slice += SEGMENT_SLICES
    return 0


cdef inline int arena_open_tables(Arena* a, uint64_t slices) noexcept nogil:
    # Make the per-slice tables accessible for slices below `slices`, in steps; 0 on success. Doing it twice is harmless.
    cdef uint64_t first = rt_load_acquire_u64(&a.slice_count)
    cdef uint64_t seen = first
    if slices <= first:
        return 0
    if RT_LOOKUP != RT_LOOKUP_HEADER:
        # (There any pointer below slice_count is looked up in the memory of its segment.)
        slices = (slices + TABLE_STEP - 1) // TABLE_STEP * TABLE_STEP
    if slices > a.slice_limit:
        slices = a.slice_limit
    if (
        arena_open_part(<char*>a.spans, sizeof(Span), first, slices, a.page_bytes)
        or arena_open_part(<char*>a.bits, RT_SLICE_WORDS * sizeof(uint64_t), first, slices, a.page_bytes)
        or arena_open_part(<char*>a.tags, sizeof(uint32_t), first, slices, a.page_bytes)
        or (RT_LOOKUP == RT_LOOKUP_RADIX and arena_open_radix(a, first, slices))
    ):
        return -1
    # Only upwards: another thread may have opened more.
    while seen < slices and not rt_swap_if_u64(&a.slice_count, &seen, slices):
        pass
    return 0


cdef inline void arena_prepare(Arena* a, uint32_t first, uint32_t count, bint dense) noexcept nogil:
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


cdef inline int arena_open_headers(char* p, uint32_t count) noexcept nogil:
    # Only the first slices of `count` segments; 0 on success.
    cdef uint32_t s
    for s in range(count):
        if rt_os_open(p + s * RT_SEGMENT_BYTES, RT_SLICE_BYTES):
            return -1
    return 0


cdef inline int arena_run(void* context, uint32_t slice, uint32_t count, bint open) noexcept nogil:
    # The page heap's hook for single runs: map one, or unmap it but for its addresses. 0 on success.
    cdef char* p = (<Arena*>context).base + (<size_t>slice << RT_SLICE_SHIFT)
    cdef size_t bytes = <size_t>count << RT_SLICE_SHIFT
    return rt_os_open(p, bytes) if open else rt_os_shut(p, bytes)


cdef inline int arena_segments(void* context, uint32_t first, uint32_t count, int how) noexcept nogil:
    # The page heap's hook: open segments, or give one up again. 0 on success.
    cdef Arena* a = <Arena*>context
    cdef char* p = a.base + first * RT_SEGMENT_BYTES
    if how == SEGMENTS_GIVE_UP:
        rt_os_unmap(p, count * RT_SEGMENT_BYTES)
        return 0
    if RT_LOOKUP != RT_LOOKUP_HEADER and arena_open_tables(a, <uint64_t>(first + count) * SEGMENT_SLICES):
        return -1
    if a.pages.run_hook != NULL:
        if RT_LOOKUP == RT_LOOKUP_HEADER and arena_open_headers(p, count):
            return -1
    elif rt_os_map_at(p, count * RT_SEGMENT_BYTES) if a.on_demand else rt_os_open(p, count * RT_SEGMENT_BYTES):
        return -1
    else:
        arena_prepare(a, first, count, how == SEGMENTS_OPEN_DENSE)
    # Memory first where the tags are in it.
    return arena_open_tables(a, <uint64_t>(first + count) * SEGMENT_SLICES) if RT_LOOKUP == RT_LOOKUP_HEADER else 0


cdef inline char* arena_reserve(size_t bytes) noexcept nogil:
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


cdef inline char* arena_intend(size_t bytes) noexcept nogil:
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


cdef inline cold_int arena_open_sized(Arena* a, size_t bytes, bint on_demand, uint32_t heap_limit) noexcept nogil:
    # Open an arena of exactly `bytes` (a multiple of the segment size); 1, or 0 with nothing kept.
    cdef uint64_t slices = bytes >> RT_SLICE_SHIFT
    cdef uint32_t segments = <uint32_t>(slices // SEGMENT_SLICES)
    cdef size_t page = rt_os_page_size()
    cdef size_t fixed_bytes = arena_fixed_bytes(segments, heap_limit)
    cdef size_t slice_bytes = arena_slice_bytes(slices, page)
    cdef char* base = arena_intend(bytes) if on_demand else arena_reserve(bytes)
    cdef char* fixed_ = <char*>rt_os_map(fixed_bytes)
    cdef char* table = <char*>rt_os_reserve(slice_bytes)
    if base == NULL or fixed_ == NULL or table == NULL:
        if base != NULL and not on_demand:
            rt_os_unmap(base, bytes)
        if fixed_ != NULL:
            rt_os_unmap(fixed_, fixed_bytes)
        if table != NULL:
            rt_os_unmap(table, slice_bytes)
        return 0
    # Huge pages would make the first touch of each table cost 2 MiB.
    rt_os_huge_pages(fixed_, fixed_bytes, False)
    rt_os_huge_pages(table, slice_bytes, False)
    rt_os_name(fixed_, fixed_bytes, b"rtmalloc tables")
    rt_os_name(table, slice_bytes, b"rtmalloc tables")
    if not on_demand:
        rt_os_huge_pages(base, bytes, False)
        rt_os_name(base, bytes, b"rtmalloc")
    memset(a, 0, sizeof(Arena))
    a.metadata_bytes = fixed_bytes + slice_bytes
    a.page_bytes = page
    a.on_demand = on_demand
    a.heap_limit = heap_limit
    a.slice_limit = slices
    a.base = base
    # Mailboxes and spans are whole cache lines, and mappings begin on one.
    a.mailboxes = fixed_
    fixed_ += <size_t>(heap_limit + 1) * MAILBOX_BYTES
    page_heap_open(&a.pages, base, segments, on_demand, <Segment*>fixed_, fixed_ + segments * sizeof(Segment))
    a.pages.hook = arena_segments
    a.pages.hook_context = a
    a.spans = <Span*>table
    table += slices * sizeof(Span)
    a.bits = <uint64_t*>table
    table += slices * RT_SLICE_WORDS * sizeof(uint64_t)
    a.tags = <uint32_t*>table
    if RT_LOOKUP == RT_LOOKUP_FLAT:
        # Foreign addresses read as "no tag"; the arena's part is opened like the table that it stands for.
        a.flat = <uint32_t*>rt_os_reserve_zeros((<size_t>1 << (RT_ADDRESS_BITS - RT_SLICE_SHIFT)) * sizeof(uint32_t))
        if a.flat == NULL:
            return 0
        a.tags = a.flat + (<size_t>base >> RT_SLICE_SHIFT)
    # (With tags in the segments a slice is in use only once its segment is.)
    return RT_LOOKUP == RT_LOOKUP_HEADER or arena_open_tables(a, 1) == 0


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
    # Number of the slice of `p`; not below slice_count when `p` lies outside of what is in use.
    return (<size_t>p - <size_t>a.base) >> RT_SLICE_SHIFT


cdef inline char* arena_address(const Arena* a, uint64_t slice) noexcept nogil:
    return a.base + (slice << RT_SLICE_SHIFT)


cdef inline uint64_t* arena_bits(const Arena* a, uint64_t slice) noexcept nogil:
    # The bitmap of a span that begins at `slice`.
    return &a.bits[slice * RT_SLICE_WORDS]


cdef inline Span* arena_span_new(Arena* a, uint32_t slice, uint32_t slices) noexcept nogil:
    # The span entry of a run that is ours: its place is filled in, and interior entries point to the first.
    cdef Span* s = &a.spans[slice]
    cdef uint32_t i
    s.base = arena_address(a, slice)
    # (Always the same for a slice; span_is_whole may read it at any time.)
    rt_store_relaxed_u64(<uint64_t*>&s.bits, <uint64_t><size_t>arena_bits(a, slice))
    s.slices = slices
    for i in range(slices):
        rt_store_relaxed_u32(&a.spans[slice + i].index, slice)
    return s
