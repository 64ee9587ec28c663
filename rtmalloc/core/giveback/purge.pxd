# Free memory goes back to the kernel after a delay. No timestamps: a pass over all segments ages every dirty slice by one
# generation and purges what was old already, and two passes make a delay, so a slice stays between one half and one whole
# delay. The same pass returns the empty pages of spans that nobody drew from (page_return.pxd).
#
# Whoever ticks when a pass is due does a bounded part of it. And a large block that raises the peak gives back what is
# dirty, as much as the rise, within an allowance per second. No system call happens under a lock that anybody waits for:
# the purge lock is only tried, except by trim() and fork.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.pages.arena cimport arena_address
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_load_relaxed_u64, rt_store_relaxed_u64
from rtmalloc.core.base.attributes cimport cold_int, slow_void
from rtmalloc.core.base.bitmap cimport mask_run, rt_count_bits, rt_highest_bit, rt_lowest_bit, run_length
from rtmalloc.core.heaps.heap cimport Heap
from rtmalloc.core.base.lock cimport Lock, lock_drop, lock_take, lock_try
from rtmalloc.core.base.options cimport (
    RT_OPTION_dirty_decay_ms, RT_OPTION_muzzy_decay_ms, RT_OPTION_page_return_ms, RT_OPTION_purge_adaptive,
    RT_OPTION_spare_percent,
)
from rtmalloc.core.pages.page_heap cimport (
    SUMMARY_DIRTY, PageHeap, Rise, page_heap_lower_peak, page_heap_note, page_heap_opened, page_heap_split_huge,
    page_heap_summary, page_heap_unmap_idle,
)
from rtmalloc.core.giveback.page_return cimport PageReturn, span_return
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_discard, rt_os_discard_lazily
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES, Segment, segment_decay
from rtmalloc.core.spans.store cimport Store

cdef extern from "base/config.h":
    enum:
        RT_SLICE_BYTES
        RT_SLICE_SHIFT

cdef enum:
    PURGE_CALLS = 16           # madvise calls per millisecond since the last part of a pass: about 50 us
    PURGE_CALLS_MOST = 1024    # ... but at most so many in one go: about 4 ms, for a process that calls us seldom
    PURGE_SEGMENTS = 8         # segments looked at per millisecond: at most 512 spans, about 25 us
    PURGE_PATIENCE = 16        # how much longer than asked the adaptive delay may grow
    PURGE_HURRY_PASS = 50      # ms between two passes in a hurry
    PEAK_LEVEL = 2             # when the peak rises, segments with a run of at least 4 dirty slices are worth system calls, and
    PEAK_SLICES = 4            # ... so many slices a millisecond may go back: 64 MiB a second, 0.2 to 0.6 % of a CPU,
    PEAK_SLICES_MOST = 8192    # ... but at most 128 MiB at once
    PURGE_REGRET = 1048576     # bytes wanted back in one pass that are worth reacting to
    QUIET_NEVER = 0xFFFFFFFF   # no page return inside spans

cdef struct Purge:
    Lock lock                  # held by the one purger; others go on without waiting
    uint32_t cursor            # segment where the pass goes on; >= opened: the pass is over
    uint64_t pass_at           # clock, in ms, when the next pass begins
    uint64_t muzzy_at          # clock, in ms, when muzzy slices age next: two such steps make one muzzy_decay_ms
    bint muzzy_step            # whether they do in this pass
    uint64_t worked_at         # clock, in ms, of the last part of a pass (read without the lock)
    uint64_t hurry_until       # clock, in ms: until then everything free is due (read and written without the lock)
    int64_t delay_ms           # dirty_decay_ms, or more while purged memory is wanted back
    uint64_t given_before      # bytes given back until the last pass, and ...
    uint64_t wanted_before     # ... bytes wanted back until then
    uint64_t calls             # madvise calls for slices
    uint64_t slices            # slices given back
    uint64_t peak_slices       # of them: when a large block raised the peak
    uint64_t peak_allowance    # slices that may go back for the peak's sake, as of ...
    uint64_t peak_at           # ... this clock, in ms
    PageReturn spans           # pages inside spans


cdef inline uint32_t purge_mask(Store* store, Purge* purge, uint32_t s, uint64_t mask, bint lazily, bint regret) noexcept nogil:
    # Give back the slices `mask` of segment s, which are free and which the caller has taken out of `free`; afterwards
    # they are free again, and clean (or muzzy). `regret`: count it when they are wanted back. Returns the number of system
    # calls.
    cdef PageHeap* ph = &store.arena.pages
    cdef Segment* segment = &ph.segments[s]
    cdef uint64_t rest = mask
    cdef uint64_t kept = 0      # what the kernel would not take: locked memory, for instance
    cdef uint64_t lazy = 0      # what it takes when it needs memory
    cdef uint64_t run
    cdef size_t bytes
    cdef uint32_t calls = 0
    cdef char* at
    page_heap_split_huge(ph, s)
    while rest:
        run = mask_run(rt_lowest_bit(rest), run_length(rest, rt_lowest_bit(rest)))
        at = arena_address(&store.arena, <uint64_t>s * SEGMENT_SLICES + rt_lowest_bit(rest))
        bytes = <size_t>rt_count_bits(run) << RT_SLICE_SHIFT
        if lazily and rt_os_discard_lazily(at, bytes) == 0:
            lazy |= run
        elif rt_os_discard(at, bytes) != 0:
            kept |= run
        rest &= ~run
        calls += 1
    lock_take(&ph.lock)
    segment.free |= mask
    segment.old &= ~mask
    if regret:
        segment.purged |= mask & ~kept
    segment.muzzy = (segment.muzzy & ~mask) | lazy
    segment.dirty &= ~(mask & ~kept & ~lazy)
    ph.used_slices -= rt_count_bits(mask)
    ph.dirty_slices += rt_count_bits(kept | lazy)
    page_heap_note(ph, s)
    lock_drop(&ph.lock)
    purge.calls += calls
    purge.slices += rt_count_bits(mask & ~kept)
    return calls


cdef inline uint64_t purge_due(PageHeap* ph, uint32_t s, bint all, bint muzzy_step, uint64_t* muzzy) noexcept nogil:
    # Age segment s by one step (or, with `all`, regard everything as due) and take what is due out of `free`. *muzzy tells
    # which of it the kernel has been offered already.
    cdef Segment* segment = &ph.segments[s]
    cdef uint64_t due
    lock_take(&ph.lock)
    due = segment.free & segment.dirty if all else segment_decay(segment, muzzy_step)
    muzzy[0] = due & segment.muzzy
    if due:
        segment.free &= ~due
        ph.used_slices += rt_count_bits(due)
        ph.dirty_slices -= rt_count_bits(due)
        page_heap_note(ph, s)
    lock_drop(&ph.lock)
    return due


cdef inline uint32_t purge_segment(
    Store* store, Purge* purge, Heap* self, uint32_t s, bint all, uint32_t quiet_wanted
) noexcept nogil:
    # One segment's turn in a pass: its free slices that are due, then the pages of its quiet spans. System calls made.
    cdef PageHeap* ph = &store.arena.pages
    cdef bint lazily = not all and store.options.value[RT_OPTION_muzzy_decay_ms] > 0
    cdef uint32_t calls = 0
    cdef uint32_t slice
    cdef uint64_t due
    cdef uint64_t muzzy = 0
    if store.arena.page_bytes > RT_SLICE_BYTES:
        # A page would reach into the neighbouring slice. (Such kernels want a library built with longer slices.)
        return 0
    if rt_load_relaxed_u32(&ph.segments[s].level_dirty):
        due = purge_due(ph, s, all, purge.muzzy_step, &muzzy)
        if lazily and muzzy:
            calls += purge_mask(store, purge, s, muzzy, False, True)
            due &= ~muzzy
        if due:
            calls += purge_mask(store, purge, s, due, lazily, True)
    if quiet_wanted != QUIET_NEVER and rt_load_relaxed_u32(&ph.segments[s].mapped) == 1:
        for slice in range(s * SEGMENT_SLICES, (s + 1) * SEGMENT_SLICES):
            calls += span_return(store, &purge.spans, self, slice, quiet_wanted)
    return calls


cdef inline uint32_t purge_quiet_wanted(Store* store, Purge* purge) noexcept nogil:
    # How many passes a span must have gone undrawn.
    cdef int64_t quiet = store.options.value[RT_OPTION_page_return_ms]
    cdef int64_t interval = purge.delay_ms // 2
    if quiet < 0:
        return QUIET_NEVER
    if interval < 1:
        interval = 1
    quiet = (quiet + interval - 1) // interval - 1
    return <uint32_t>(1 if quiet < 1 else 200 if quiet > 200 else quiet)


cdef inline void purge_adapt(Store* store, Purge* purge) noexcept nogil:
    # Before a pass: when more than half of what the last one gave back was wanted again, wait longer; else less.
    cdef int64_t base = store.options.value[RT_OPTION_dirty_decay_ms]
    # (What goes back for the peak's sake has a rule of its own.)
    cdef uint64_t given = ((purge.slices - purge.peak_slices) << RT_SLICE_SHIFT) + purge.spans.bytes
    cdef uint64_t wanted = (
        (rt_load_relaxed_u64(&store.arena.pages.wanted_back) << RT_SLICE_SHIFT)
        + rt_load_relaxed_u64(&store.returns_wanted)
    )
    if purge.delay_ms < base:
        purge.delay_ms = base
    if store.options.value[RT_OPTION_purge_adaptive] == 0:
        purge.delay_ms = base
    elif wanted - purge.wanted_before > PURGE_REGRET and (wanted - purge.wanted_before) * 2 > given - purge.given_before:
        purge.delay_ms *= 2
        if purge.delay_ms > PURGE_PATIENCE * base:
            purge.delay_ms = PURGE_PATIENCE * base
    else:
        purge.delay_ms -= (purge.delay_ms - base + 1) // 2
    purge.given_before = given
    purge.wanted_before = wanted


cdef inline cold_int purge_work(Store* store, Purge* purge, Heap* self, uint64_t now) noexcept nogil:
    # Under the purge lock: begin a pass if one is due, and go on with it for as long as the time since the last part
    # allows. Whether the pass goes on.
    cdef PageHeap* ph = &store.arena.pages
    cdef uint64_t elapsed = now - purge.worked_at
    cdef uint32_t calls, segments, quiet_wanted
    cdef uint32_t done = 0
    cdef bint hurry = now < rt_load_relaxed_u64(&purge.hurry_until)
    cdef bint at_once = hurry or store.options.value[RT_OPTION_dirty_decay_ms] == 0
    if elapsed > PURGE_CALLS_MOST // PURGE_CALLS:
        elapsed = PURGE_CALLS_MOST // PURGE_CALLS
    calls = <uint32_t>elapsed * PURGE_CALLS
    segments = <uint32_t>elapsed * PURGE_SEGMENTS
    rt_store_relaxed_u64(&purge.worked_at, now)
    if now >= purge.pass_at:
        purge_adapt(store, purge)
        purge.pass_at = now + (PURGE_HURRY_PASS if hurry else purge.delay_ms // 2 if purge.delay_ms > 1 else 1)
        purge.cursor = 0
        purge.muzzy_step = now >= purge.muzzy_at
        if purge.muzzy_step:
            purge.muzzy_at = now + <uint64_t>store.options.value[RT_OPTION_muzzy_decay_ms] // 2
    quiet_wanted = 0 if hurry else purge_quiet_wanted(store, purge)
    while purge.cursor < page_heap_opened(ph) and done < calls and segments:
        done += purge_segment(store, purge, self, purge.cursor, at_once, quiet_wanted)
        purge.cursor += 1
        segments -= 1
    return purge.cursor < page_heap_opened(ph)


cdef inline bint purge_is_wanted(Store* store, Purge* purge, uint64_t now) noexcept nogil:
    # Whether passes are made at all: "never" holds until memory is short.
    return store.options.value[RT_OPTION_dirty_decay_ms] >= 0 or now < rt_load_relaxed_u64(&purge.hurry_until)


cdef inline void purge_hurry(Purge* purge, uint64_t until) noexcept nogil:
    # Until the clock says `until` everything free is due at once, however it was to be kept.
    rt_store_relaxed_u64(&purge.hurry_until, until)


cdef inline void purge_tick(Store* store, Purge* purge, Heap* self, uint64_t now) noexcept nogil:
    # A thread passes by with the time in its hand: it does a bounded part of what is due, unless somebody is at it or has
    # done so since the clock last moved.
    if now == rt_load_relaxed_u64(&purge.worked_at) or not purge_is_wanted(store, purge, now):
        return
    if not lock_try(&purge.lock):
        return
    if now >= purge.pass_at or purge.cursor < page_heap_opened(&store.arena.pages):
        purge_work(store, purge, self, now)
    lock_drop(&purge.lock)


cdef inline uint64_t purge_peak_allowance(Purge* purge, uint64_t now) noexcept nogil:
    # Slices that may go back for the peak's sake now. Under the purge lock.
    purge.peak_allowance += (now - purge.peak_at) * PEAK_SLICES
    if purge.peak_allowance > PEAK_SLICES_MOST:
        purge.peak_allowance = PEAK_SLICES_MOST
    purge.peak_at = now
    return purge.peak_allowance


cdef inline uint64_t purge_highest(Store* store, Purge* purge, uint64_t slices) noexcept nogil:
    # Under the purge lock: give back at least `slices` dirty slices, or all in segments that have a long run of them. The
    # highest segments first: what lies low is used again first. Returns how many it were.
    cdef PageHeap* ph = &store.arena.pages
    cdef uint64_t began = purge.slices
    cdef uint64_t muzzy = 0
    cdef uint64_t due, word, before
    cdef uint32_t s
    cdef uint32_t w = (page_heap_opened(ph) + 63) // 64
    while w and purge.slices - began < slices:
        w -= 1
        word = rt_load_relaxed_u64(page_heap_summary(ph, SUMMARY_DIRTY, PEAK_LEVEL, w))
        while word and purge.slices - began < slices:
            s = w * 64 + rt_highest_bit(word)
            word &= ~(<uint64_t>1 << (s & 63))
            due = purge_due(ph, s, True, False, &muzzy)
            if due:
                before = purge.slices
                purge_mask(store, purge, s, due, False, False)
                if purge.slices == before:
                    # The kernel does not take it (locked memory): nor will it take the rest.
                    return purge.slices - began
    return purge.slices - began


cdef inline void purge_for_peak(Store* store, Purge* purge, const Rise* rise) noexcept nogil:
    # A large block was taken. Where that has raised the peak, free memory that is kept for nothing but speed is no reason
    # for it: as much of it goes back, within the allowance.
    cdef uint64_t spared = rise.used_slices * <uint64_t>store.options.value[RT_OPTION_spare_percent] // 100
    if rise.slices and rise.dirty_slices > spared and store.arena.page_bytes <= RT_SLICE_BYTES:
        purge_rise(store, purge, rise.slices if rise.slices < rise.dirty_slices - spared else rise.dirty_slices - spared)


cdef inline slow_void purge_rise(Store* store, Purge* purge, uint64_t most) noexcept nogil:
    # Give back `most` slices, as far as the allowance goes. That bounds what it costs a program whose large blocks come and
    # go.
    cdef uint64_t now = rt_os_clock_ms()
    cdef uint64_t given
    if not purge_is_wanted(store, purge, now) or not lock_try(&purge.lock):
        return
    if most > purge_peak_allowance(purge, now):
        most = purge.peak_allowance
    given = purge_highest(store, purge, most)
    purge.peak_slices += given
    # Whole segments' shares go back, which may be more than was asked for.
    purge.peak_allowance -= given if given < purge.peak_allowance else purge.peak_allowance
    page_heap_lower_peak(&store.arena.pages, given if given < most else most)
    lock_drop(&purge.lock)


cdef inline cold_int purge_everything(Store* store, Purge* purge, Heap* self) noexcept nogil:
    # Give back all free memory now: slices, pages inside spans, address space where it is scarce. Whether there was any.
    cdef PageHeap* ph = &store.arena.pages
    cdef uint64_t given
    cdef int unmapped
    cdef uint32_t s
    lock_take(&purge.lock)
    given = purge.slices + purge.spans.bytes
    for s in range(page_heap_opened(ph)):
        purge_segment(store, purge, self, s, True, 0)
    # In a hurry the next pass does not wait for its time.
    if rt_os_clock_ms() < rt_load_relaxed_u64(&purge.hurry_until):
        purge.pass_at = rt_os_clock_ms() + PURGE_HURRY_PASS
    unmapped = page_heap_unmap_idle(ph)
    given = purge.slices + purge.spans.bytes - given
    lock_drop(&purge.lock)
    return given > 0 or unmapped > 0
