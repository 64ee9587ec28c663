# The arena's place: a range of addresses for its segments, and ranges below it for the tables.
#
# Nothing is reserved: segments and table entries are mapped when they are needed, at addresses that neither the kernel nor
# a program chooses by itself. So limits on address space count what is open, whenever they are set; a debugger, a core dump
# and mlockall find nothing else; and an emulator has nothing to keep account of.
#
#     0 ... 5/32 .. tables | segments ... 10/32 .. 14/32 ......... 21/32 programs ... libraries, stacks .. 1 of the addresses
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.alternatives.lookup cimport lookup_reserve
from rtmalloc.core.base.attributes cimport cold_int
from rtmalloc.core.base.config cimport RT_GROUP_BYTES, RT_LOOKUP, RT_LOOKUP_FLAT, RT_SLICE_SHIFT
from rtmalloc.core.base.platform cimport RT_OS_MAPPED, rt_os_address_end, rt_os_page_size, rt_os_random
from rtmalloc.core.pages.page_heap cimport page_heap_open
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.tables cimport TABLES, table_bytes, table_place, tables_open, tables_open_segments
from rtmalloc.core.types cimport Arena

cdef extern from *:
    """
    #define RT_ARENA_MOST ((size_t)1 << 44) /* bytes: more than any machine has memory */
    """
    const size_t RT_ARENA_MOST

cdef enum:
    ARENA_SHARE = 8            # of the addresses that a process may use, the arena gets one part in so many
    ARENA_ATTEMPTS = 16        # places that are tried: another allocator may have chosen as we do


cdef inline cold_int reservation_open_at(Arena* a, char* base, uint64_t slices) noexcept nogil:
    # Open an arena at `base`; RT_OS_MAPPED, or why that cannot be.
    cdef char* at = base
    cdef uint32_t segments = <uint32_t>(slices // SEGMENT_SLICES)
    cdef int i
    memset(a, 0, sizeof(Arena))
    a.page_bytes = rt_os_page_size()
    a.slice_limit = slices
    a.base = base
    for i in range(TABLES):
        at -= (table_bytes(i, slices) + RT_GROUP_BYTES - 1) & ~<size_t>(RT_GROUP_BYTES - 1)
        table_place(a, i)[0] = at
    page_heap_open(&a.pages, base, segments, a.pages.segments, a.pages.summaries)
    a.pages.described = 0
    a.pages.hook = tables_open_segments
    a.pages.hook_context = a
    if RT_LOOKUP == RT_LOOKUP_FLAT and lookup_reserve(a):
        return -1
    return tables_open(a, SEGMENT_SLICES)


cdef inline cold_int reservation_open(Arena* a) noexcept nogil:
    # Choose the place; 1, or 0 when the kernel refuses even the first table entries.
    cdef size_t end = rt_os_address_end()
    cdef size_t bytes = end // ARENA_SHARE if end // ARENA_SHARE < RT_ARENA_MOST else RT_ARENA_MOST
    cdef size_t window = end // 32 * 5
    # Two instances in one process start with the same bytes.
    cdef uint64_t random = rt_os_random() ^ <uint64_t><size_t>a
    cdef int answer, i
    for i in range(ARENA_ATTEMPTS):
        random = random * 6364136223846793005ULL + 1442695040888963407ULL
        answer = reservation_open_at(
            a, <char*>((window + (random >> 16) % window) & ~<size_t>(RT_GROUP_BYTES - 1)), bytes >> RT_SLICE_SHIFT
        )
        if answer == RT_OS_MAPPED:
            return 1
    a.base = NULL
    return 0
