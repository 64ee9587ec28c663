# A batch: runs that go back to the kernel by one system call, and what is done with each of them behind it.
# Scattered single pages are most of what goes back, and a call for each is most of their price (base/vector.h).
#
# A run is ours alone from before it joins until the batch is flushed: slices are out of the page heap's free set, the objects
# that overlap the pages of a span are claimed. A batch lives on the stack of who has the purge lock, and is empty before he
# drops it.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base._options cimport RT_OPTION_vectored
from rtmalloc.core.base.atomics cimport rt_or_u64
from rtmalloc.core.base.attributes cimport cold_void, slow_void
from rtmalloc.core.base.bitmap cimport mask_low, mask_run, rt_count_bits
from rtmalloc.core.base.config cimport RT_SLICE_SHIFT, RT_SLICE_WORDS
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_yield
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.pages.arena cimport arena_address
from rtmalloc.core.pages.huge_pages cimport huge_pages_split
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.summary cimport summary_count, summary_note
from rtmalloc.core.spans.object cimport object_span
from rtmalloc.core.spans.shelf cimport shelf_put
from rtmalloc.core.types cimport Allocator, PageHeap, Segment, Span

cdef extern from "base/vector.h" nogil:
    enum:
        RT_VECTOR_MOST
    ctypedef struct rt_range "struct iovec":
        void* iov_base
        size_t iov_len
    void rt_vector_refuse() noexcept
    uint64_t rt_vector_discard(
        const rt_range* range, uint32_t count, bint lazily, int use, uint64_t* lazy, uint64_t* calls
    ) noexcept

cdef enum:
    BATCH_BYTES = 1048576      # enough for one call, 0.1 ms: long runs gain nothing by company, and all wait for the last
    BATCH_PATIENCE_MS = 20     # who sets a filter of system calls waits so long for a batch under way

cdef struct BatchRun:
    # Slices of a segment, or pages of a span.
    uint32_t slice             # the first one; of pages: where the span begins
    uint32_t slices            # how many; of pages: 0
    uint32_t first             # of pages: objects [first, end) are claimed,
    uint32_t end
    uint64_t units             # ... the bits of `returned` that they stand for,
    uint64_t bytes             # ... and bytes that were not returned before

cdef struct Batch:
    uint32_t count
    size_t bytes               # of all its runs
    bint lazily                # by MADV_FREE
    bint regret                # slices: count it when they are wanted back
    rt_range range[RT_VECTOR_MOST]
    BatchRun run[RT_VECTOR_MOST]


cdef inline void batch_open(Batch* b) noexcept nogil:
    b.count = 0
    b.bytes = 0
    b.lazily = False
    b.regret = True


cdef inline uint64_t object_mask(uint32_t first, uint32_t end, uint32_t word) noexcept nogil:
    # The bits of objects [first, end) that lie in bitmap word `word`.
    cdef uint32_t low = word * 64
    cdef uint64_t mask = ~<uint64_t>0
    if end < low + 64:
        mask = mask_low(end - low)
    if first > low:
        mask &= ~mask_low(first - low)
    return mask


cdef inline void objects_put(Allocator* a, uint32_t slice, uint32_t word, uint64_t mask) noexcept nogil:
    # Put claimed objects back, with all that a free does: theirs may be the bits that somebody missed meanwhile. What we hold
    # pins its span, but that need not be the one we took it for: `slice` may lie inside of a longer span by now, or word
    # `word`, counted from there, in a slice behind it that has a span of its own.
    cdef Span* s = object_span(&a.arena, slice + word // RT_SLICE_WORDS)
    shelf_put(a, s, word + (slice - s.index) * RT_SLICE_WORDS, mask)


cdef inline void batch_settle_slices(Allocator* a, const BatchRun* run, bint gone, bint lazy) noexcept nogil:
    # Under the page heap's lock: slices are free again, and clean (or muzzy), unless the kernel would not take them.
    cdef PageHeap* ph = &a.arena.pages
    cdef uint32_t s = run.slice // SEGMENT_SLICES
    cdef Segment* segment = &ph.segments[s]
    cdef uint64_t mask = mask_run(run.slice % SEGMENT_SLICES, run.slices)
    segment.free |= mask
    segment.old &= ~mask
    segment.muzzy &= ~mask
    if lazy:
        segment.muzzy |= mask
        segment.dirty |= mask
    elif gone:
        segment.dirty &= ~mask
    summary_count(ph, -<int64_t>run.slices, rt_count_bits(mask & segment.dirty))
    summary_note(ph, s)


cdef inline void batch_settle(Allocator* a, const Batch* b, uint64_t taken, uint64_t lazy) noexcept nogil:
    # Slices go back to the page heap.
    cdef PageHeap* ph = &a.arena.pages
    cdef const BatchRun* run
    cdef uint32_t i
    lock_take(&ph.lock)
    for i in range(b.count):
        run = &b.run[i]
        if run.slices:
            batch_settle_slices(a, run, taken >> i & 1, lazy >> i & 1)
            a.purge.calls += 1
            if taken >> i & 1:
                a.purge.slices += run.slices
                if b.regret:
                    ph.segments[run.slice // SEGMENT_SLICES].purged |= mask_run(run.slice % SEGMENT_SLICES, run.slices)
    lock_drop(&ph.lock)


cdef inline void batch_return(Allocator* a, const BatchRun* run, bint gone) noexcept nogil:
    # Pages of a span: the objects that overlap them go back into it.
    cdef Span* s = &a.arena.spans[run.slice]
    cdef uint32_t w = run.first // 64
    if gone:
        a.purge.spans.bytes += run.bytes
        # Before the objects are back: whoever then draws one of them clears the mask afterwards.
        rt_or_u64(&s.returned, run.units)
    while w * 64 < run.end:
        objects_put(a, run.slice, w, object_mask(run.first, run.end, w))
        w += 1
    a.purge.spans.calls += 1


cdef inline slow_void batch_flush(Allocator* a, Batch* b) noexcept nogil:
    # Give the runs of a batch back, and then put them where they came from.
    cdef uint64_t lazy = 0
    cdef uint64_t slices = 0
    cdef uint64_t taken
    cdef uint32_t i
    if b.count == 0:
        return
    taken = rt_vector_discard(
        b.range, b.count, b.lazily, <int>a.options.value[RT_OPTION_vectored], &lazy, &a.purge.vectors
    )
    for i in range(b.count):
        slices |= b.run[i].slices
    if slices:
        batch_settle(a, b, taken, lazy)
    for i in range(b.count):
        if b.run[i].slices == 0:
            batch_return(a, &b.run[i], taken >> i & 1)
    b.count = 0
    b.bytes = 0


cdef inline BatchRun* batch_add(Allocator* a, Batch* b, uint32_t slice, void* at, size_t bytes) noexcept nogil:
    # A run of a slice's segment joins, for the caller to say what it is. There is room.
    cdef uint32_t i = b.count
    huge_pages_split(&a.arena.pages, slice // SEGMENT_SLICES)
    b.range[i].iov_base = at
    b.range[i].iov_len = bytes
    b.run[i].slice = slice
    b.count = i + 1
    b.bytes += bytes
    return &b.run[i]


cdef inline void batch_make_room(Allocator* a, Batch* b, bint lazily, bint regret) noexcept nogil:
    # What joins next goes back like this.
    if b.count == RT_VECTOR_MOST or b.bytes >= BATCH_BYTES or b.lazily != lazily or b.regret != regret:
        batch_flush(a, b)
        b.lazily = lazily
        b.regret = regret


cdef inline void batch_add_slices(
    Allocator* a, Batch* b, uint32_t slice, uint32_t slices, bint lazily, bint regret
) noexcept nogil:
    # Slices of one segment, which the caller has taken out of the free set.
    batch_make_room(a, b, lazily, regret)
    batch_add(a, b, slice, arena_address(&a.arena, slice), <size_t>slices << RT_SLICE_SHIFT).slices = slices


cdef inline cold_void batch_end "rt_batch_end"() noexcept nogil:
    # A filter of system calls is about to be set, which may kill whoever makes an unusual one: from now on there are only
    # those of one run, and who is in the middle of another one is waited for, but not for long.
    cdef Allocator* a = allocator()
    cdef uint64_t until = rt_os_clock_ms() + BATCH_PATIENCE_MS
    rt_vector_refuse()
    if not a.ready:
        return
    while not lock_try(&a.purge.lock):
        if rt_os_clock_ms() > until:
            return
        rt_os_yield()
    lock_drop(&a.purge.lock)
