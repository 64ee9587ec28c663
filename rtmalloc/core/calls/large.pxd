# Blocks above the largest small class. Most are runs of slices in the arena; a *giant* has a mapping of its own outside
# of it, because it did not fit or because realloc keeps growing it: the kernel then moves page tables, not bytes.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.pages.arena cimport Arena, arena_address, arena_slice_of
from rtmalloc.core.base.atomics cimport rt_add_u64, rt_exchange_u32, rt_store_relaxed_u32, rt_store_release_u32
from rtmalloc.core.base.attributes cimport slow_pointer, slow_void
from rtmalloc.core.base.bitmap cimport mask_run, rt_lowest_bit, run_length
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.pages.page_heap cimport (
    SLICE_NONE, Rise, page_heap_dirty_in, page_heap_extend, page_heap_give, page_heap_take_aligned,
)
from rtmalloc.core.pages.pagemap cimport TAG_LARGE, tag_place
from rtmalloc.core.base.platform cimport rt_os_map, rt_os_move_back, rt_os_move_pages, rt_os_name, rt_os_remap, rt_os_unmap
from rtmalloc.core.giveback.purge cimport Purge, purge_for_peak
from rtmalloc.core.base.radix cimport RadixMap, radix_get, radix_set, radix_take
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.spans.span cimport Span
from rtmalloc.core.spans.store cimport Store

cdef extern from "base/config.h":
    enum:
        RT_SLICE_BYTES
        RT_SLICE_SHIFT


cdef inline uint32_t slices_of(size_t bytes) noexcept nogil:
    return <uint32_t>((bytes + RT_SLICE_BYTES - 1) >> RT_SLICE_SHIFT)


# ---- runs of slices

cdef inline slow_pointer large_take(Store* store, Purge* purge, size_t bytes, size_t alignment) noexcept nogil:
    # A block of at least `bytes` in the arena at a multiple of `alignment` (a power of two), or NULL.
    cdef Arena* a = &store.arena
    cdef uint32_t slices, slice
    cdef uint32_t step = <uint32_t>(alignment >> RT_SLICE_SHIFT) if alignment > RT_SLICE_BYTES else 1
    cdef Rise rise
    cdef Span* s
    if bytes > (a.slice_limit << RT_SLICE_SHIFT) or alignment > (a.slice_limit << RT_SLICE_SHIFT):
        return NULL
    slices = slices_of(bytes)
    slice = page_heap_take_aligned(&a.pages, slices, step, &rise)
    if slice == SLICE_NONE:
        return NULL
    purge_for_peak(store, purge, &rise)
    s = &a.spans[slice]
    s.base = arena_address(a, slice)
    s.slices = slices
    s.size = 0
    rt_store_relaxed_u32(&s.index, slice)
    rt_store_release_u32(tag_place(a, slice), TAG_LARGE)
    return s.base


cdef inline bint large_give(Store* store, uint32_t slice) noexcept nogil:
    # Free the block that begins at `slice`; False when none does (any more): of two frees one wins.
    cdef uint32_t slices = store.arena.spans[slice].slices
    if rt_exchange_u32(tag_place(&store.arena, slice), 0) != TAG_LARGE:
        return False
    page_heap_give(&store.arena.pages, slice, slices)
    return True


cdef inline size_t large_bytes(const Store* store, uint32_t slice) noexcept nogil:
    return <size_t>store.arena.spans[slice].slices << RT_SLICE_SHIFT


cdef inline slow_void large_zero(Store* store, uint32_t slice, size_t bytes) noexcept nogil:
    # Make the first `bytes` of a fresh block zero, by clearing only slices that were in use before.
    cdef uint32_t left = slices_of(bytes)
    cdef uint32_t n, first, length
    cdef uint64_t dirty
    cdef char* end = arena_address(&store.arena, slice) + bytes
    cdef char* at
    cdef size_t piece
    while left:
        n = SEGMENT_SLICES - slice % SEGMENT_SLICES
        if n > left:
            n = left
        dirty = page_heap_dirty_in(&store.arena.pages, slice, n)
        while dirty:
            first = rt_lowest_bit(dirty)
            length = run_length(dirty, first)
            at = arena_address(&store.arena, slice + first)
            piece = <size_t>length << RT_SLICE_SHIFT
            if piece > <size_t>(end - at):
                piece = <size_t>(end - at)
            memset(at, 0, piece)
            dirty &= ~mask_run(first, length)
        slice += n
        left -= n


cdef inline bint large_resize(Store* store, Purge* purge, uint32_t slice, size_t bytes) noexcept nogil:
    # Make the block at `slice` fit `bytes` where it stands: its tail is given back, or free slices behind it are taken.
    cdef Span* s = &store.arena.spans[slice]
    cdef uint32_t wanted
    cdef Rise rise
    if bytes > (store.arena.slice_limit << RT_SLICE_SHIFT):
        return False
    wanted = slices_of(bytes)
    if wanted < s.slices:
        page_heap_give(&store.arena.pages, slice + wanted, s.slices - wanted)
        s.slices = wanted
    elif wanted > s.slices:
        if not page_heap_extend(&store.arena.pages, slice, s.slices, wanted - s.slices, &rise):
            return False
        s.slices = wanted
        purge_for_peak(store, purge, &rise)
    return True


# ---- giants: mappings of their own, known by their first page

cdef struct Giants:
    RadixMap map               # first page -> bytes
    uint64_t bytes             # mapped now
    uint64_t moved             # times that page tables moved instead of bytes


cdef inline size_t giant_round(const Store* store, size_t bytes) noexcept nogil:
    return (bytes + store.arena.page_bytes - 1) & ~(store.arena.page_bytes - 1)


cdef inline slow_pointer giant_take(Store* store, Giants* giants, size_t bytes, size_t alignment) noexcept nogil:
    # A zeroed block with a mapping of its own, or NULL.
    cdef size_t size = giant_round(store, bytes)
    cdef size_t slack = alignment if alignment > store.arena.page_bytes else 0
    cdef size_t misfit
    cdef char* p
    if size < bytes or size + slack < size:
        return NULL
    p = <char*>rt_os_map(size + slack)
    if p == NULL:
        return NULL
    if arena_slice_of(&store.arena, p) < store.arena.slice_limit:
        # An arena that maps on demand only intends its range, and the kernel may place a mapping there.
        rt_os_unmap(p, size + slack)
        return NULL
    if slack:
        misfit = (alignment - (<size_t>p & (alignment - 1))) & (alignment - 1)
        if misfit:
            rt_os_unmap(p, misfit)
        if slack > misfit:
            rt_os_unmap(p + misfit + size, slack - misfit)
        p += misfit
    if not radix_set(&giants.map, p, size):
        rt_os_unmap(p, size)
        return NULL
    rt_os_name(p, size, b"rtmalloc giant")
    rt_add_u64(&giants.bytes, size)
    return p


cdef inline size_t giant_bytes(Giants* giants, const void* p) noexcept nogil:
    # Size of the giant that begins at `p`, 0 when none does.
    if <size_t>p & 4095:
        return 0
    return radix_get(&giants.map, p)


cdef inline bint giant_give(Giants* giants, void* p) noexcept nogil:
    # Unmap the giant at `p`; False when there is none (any more).
    cdef size_t size
    if <size_t>p & 4095:
        return False
    size = radix_take(&giants.map, p)
    if size == 0:
        return False
    rt_os_unmap(p, size)
    rt_add_u64(&giants.bytes, <uint64_t>-<int64_t>size)
    return True


cdef inline slow_pointer giant_resize(Store* store, Giants* giants, void* p, size_t bytes) noexcept nogil:
    # The giant at `p` with room for `bytes`, perhaps elsewhere; NULL when the kernel refuses, and then nothing changed.
    cdef size_t before = radix_take(&giants.map, p)
    cdef size_t size = giant_round(store, bytes)
    cdef void* q
    if before == 0 or size < bytes:
        return NULL
    q = p if size == before else rt_os_remap(p, before, size)
    if q == NULL:
        # The place of the old entry exists: this cannot fail.
        radix_set(&giants.map, p, before)
        return NULL
    if not radix_set(&giants.map, q, size):
        # Not even 32 KiB for the map, and the way back may be taken already: better no process than a wrong pointer.
        complain_of_pointer(b"realloc", p, b"out of memory for the map of giant blocks")
    if q != p:
        rt_add_u64(&giants.moved, 1)
    rt_add_u64(&giants.bytes, <uint64_t>(<int64_t>size - <int64_t>before))
    return q


cdef inline slow_pointer large_to_giant(Store* store, Giants* giants, uint32_t slice, size_t bytes) noexcept nogil:
    # Move a block of the arena to a mapping of its own with room for `bytes`, by its page tables. The slices stay
    # mapped and are zero afterwards. NULL when the kernel cannot (before Linux 5.7), and then nothing changed.
    cdef char* home = arena_address(&store.arena, slice)
    cdef size_t before = large_bytes(store, slice)
    cdef size_t size = giant_round(store, bytes)
    cdef char* moved
    cdef char* grown
    if size < bytes or store.arena.page_bytes > RT_SLICE_BYTES:
        return NULL
    moved = <char*>rt_os_move_pages(home, before)
    if moved == NULL:
        return NULL
    grown = <char*>rt_os_remap(moved, before, size)
    if grown == NULL or not radix_set(&giants.map, grown, size):
        # Back home, where the slices still wait. The kernel has just unmapped more than this maps.
        if rt_os_move_back(grown if grown != NULL else moved, size if grown != NULL else before, home, before) != 0:
            complain_of_pointer(b"realloc", home, b"the kernel took the block's pages and does not give them back")
        return NULL
    rt_add_u64(&giants.moved, 1)
    rt_add_u64(&giants.bytes, size)
    large_give(store, slice)
    return grown
