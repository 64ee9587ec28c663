# Blocks above the largest small class, as runs of slices in the arena.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.base.atomics cimport rt_exchange_u32, rt_store_relaxed_u32, rt_store_release_u32
from rtmalloc.core.base.attributes cimport slow_pointer, slow_void
from rtmalloc.core.base.bitmap cimport mask_run, rt_lowest_bit, run_length
from rtmalloc.core.base.config cimport RT_SLICE_BYTES, RT_SLICE_SHIFT
from rtmalloc.core.base.platform cimport rt_os_clear
from rtmalloc.core.giveback.purge cimport purge_for_peak
from rtmalloc.core.pages.arena cimport arena_address, arena_page_slices
from rtmalloc.core.pages.limit cimport limit_refuses
from rtmalloc.core.pages.page_heap cimport (
    page_heap_dirty_in, page_heap_extend, page_heap_give, page_heap_take_aligned,
)
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.summary cimport SLICE_NONE
from rtmalloc.core.pages.tag cimport TAG_LARGE, tag_place
from rtmalloc.core.types cimport Allocator, Rise, Span

cdef enum:
    LARGE_PAGES = 8            # pages: a shorter block is not rounded up to whole ones, which would waste an eighth and more
    CLEAR_LOOK = 1048576       # bytes: calloc asks the kernel whether so many dirty ones in a row are resident at all

cdef extern from *:
    """
    /* Bytes: a larger block gets a mapping of its own. The arena's tables have entries for all of its blocks' slices. */
    #define RT_LARGE_MOST ((size_t)1 << 32)
    """
    const size_t RT_LARGE_MOST


cdef inline uint32_t large_step(const Allocator* a, uint32_t slices) noexcept nogil:
    # Where pages are longer than slices a long block has whole ones: all of it goes back whoever lives beside it.
    cdef uint32_t page = arena_page_slices(&a.arena)
    return page if slices >= LARGE_PAGES * page else 1


cdef inline uint32_t large_slices(const Allocator* a, size_t bytes) noexcept nogil:
    cdef uint32_t slices = <uint32_t>((bytes + RT_SLICE_BYTES - 1) >> RT_SLICE_SHIFT)
    cdef uint32_t step = large_step(a, slices)
    return (slices + step - 1) & ~(step - 1)


cdef inline slow_pointer large_take(Allocator* a, size_t bytes, size_t alignment) noexcept nogil:
    # A block of at least `bytes` in the arena at a multiple of `alignment` (a power of two), or NULL.
    cdef uint32_t slices, slice, step
    cdef Rise rise
    cdef Span* s
    if bytes > RT_LARGE_MOST or alignment > RT_LARGE_MOST:
        return NULL
    slices = large_slices(a, bytes)
    step = large_step(a, slices)
    if alignment >> RT_SLICE_SHIFT > step:
        step = <uint32_t>(alignment >> RT_SLICE_SHIFT)
    slice = page_heap_take_aligned(&a.arena.pages, slices, step, &rise)
    if slice == SLICE_NONE:
        return NULL
    purge_for_peak(a, &rise)
    s = &a.arena.spans[slice]
    s.base = arena_address(&a.arena, slice)
    s.slices = slices
    s.size = 0
    rt_store_relaxed_u32(&s.index, slice)
    rt_store_release_u32(tag_place(&a.arena, slice), TAG_LARGE)
    return s.base


cdef inline bint large_give(Allocator* a, uint32_t slice) noexcept nogil:
    # Free the block that begins at `slice`; False when none does (any more): of two frees one wins.
    cdef uint32_t slices = a.arena.spans[slice].slices
    if rt_exchange_u32(tag_place(&a.arena, slice), 0) != TAG_LARGE:
        return False
    page_heap_give(&a.arena.pages, slice, slices)
    return True


cdef inline size_t large_bytes(const Allocator* a, uint32_t slice) noexcept nogil:
    return <size_t>a.arena.spans[slice].slices << RT_SLICE_SHIFT


cdef inline void large_clear(const Allocator* a, uint32_t slice, uint32_t end) noexcept nogil:
    # Make slices [slice, end) zero. Long runs need not be resident: what is not is given back instead of written.
    cdef char* at = arena_address(&a.arena, slice)
    cdef size_t bytes = <size_t>(end - slice) << RT_SLICE_SHIFT
    cdef size_t page = a.arena.page_bytes
    cdef size_t lead = -<size_t>at & (page - 1)
    cdef size_t whole = (bytes - lead) & ~(page - 1)
    if bytes < CLEAR_LOOK:
        memset(at, 0, bytes)
    else:
        memset(at, 0, lead)
        rt_os_clear(at + lead, whole, page)
        memset(at + lead + whole, 0, bytes - lead - whole)


cdef inline slow_void large_zero(Allocator* a, uint32_t slice, size_t bytes) noexcept nogil:
    # Make the first `bytes` of a fresh block zero, by clearing only slices that were in use before.
    cdef uint32_t left = large_slices(a, bytes)
    cdef uint32_t n, first, length
    cdef uint32_t run = slice   # slices [run, run_end) are dirty, and not clear yet
    cdef uint32_t run_end = slice
    cdef uint64_t dirty
    while left:
        n = SEGMENT_SLICES - slice % SEGMENT_SLICES
        if n > left:
            n = left
        dirty = page_heap_dirty_in(&a.arena.pages, slice, n)
        while dirty:
            first = rt_lowest_bit(dirty)
            length = run_length(dirty, first)
            if slice + first != run_end:
                large_clear(a, run, run_end)
                run = slice + first
            run_end = slice + first + length
            dirty &= ~mask_run(first, length)
        slice += n
        left -= n
    large_clear(a, run, run_end)


cdef inline bint large_resize(Allocator* a, uint32_t slice, size_t bytes) noexcept nogil:
    # Make the block at `slice` fit `bytes` where it stands: its tail is given back, or free slices behind it are taken.
    cdef Span* s = &a.arena.spans[slice]
    cdef uint32_t wanted
    cdef Rise rise
    if bytes > RT_LARGE_MOST:
        return False
    wanted = large_slices(a, bytes)
    if wanted < s.slices:
        page_heap_give(&a.arena.pages, slice + wanted, s.slices - wanted)
        s.slices = wanted
    elif wanted > s.slices:
        if limit_refuses(a, <uint64_t>(wanted - s.slices) << RT_SLICE_SHIFT):
            return False
        if not page_heap_extend(&a.arena.pages, slice, s.slices, wanted - s.slices, &rise):
            return False
        s.slices = wanted
        purge_for_peak(a, &rise)
    return True
