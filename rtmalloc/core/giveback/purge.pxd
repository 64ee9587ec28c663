# Free slices go back to the kernel after a delay, by passes over all segments.
# No timestamps: a pass ages every dirty slice by one generation and purges what was old already, and two passes make a
# delay, so a slice stays between one half and one whole delay. The same pass returns the empty pages of spans that no
# refill drew from (page_return.pxd).
#
# Whoever ticks when a pass is due does a bounded part of it. And a large block that raises the peak gives back what is
# dirty, as much as the rise, within an allowance per second. No system call happens under a lock that anybody waits for:
# the purge lock is only tried, except by trim() and fork.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base._options cimport (
    RT_OPTION_dirty_decay_ms, RT_OPTION_muzzy_decay_ms, RT_OPTION_page_return_ms, RT_OPTION_purge_adaptive,
    RT_OPTION_spare_percent,
)
from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u32, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_store_relaxed_u64,
)
from rtmalloc.core.base.attributes cimport cold_int, slow_void
from rtmalloc.core.base.bitmap cimport mask_groups, mask_run, rt_count_bits, rt_highest_bit, rt_lowest_bit, run_length
from rtmalloc.core.base.config cimport RT_GROUP_SEGMENTS, RT_SLICE_SHIFT
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.base.platform cimport rt_os_clock_ms
from rtmalloc.core.giveback.batch cimport Batch, batch_add_slices, batch_flush, batch_open
from rtmalloc.core.giveback.page_return cimport span_return
from rtmalloc.core.pages.arena cimport arena_page_slices
from rtmalloc.core.pages.growth cimport growth_give_up, growth_give_up_all
from rtmalloc.core.pages.page_heap cimport page_heap_lower_peak, page_heap_opened
from rtmalloc.core.pages.segment cimport SEGMENT_ACCESSIBLE, SEGMENT_SLICES, segment_decay
from rtmalloc.core.pages.summary cimport SUMMARY_DIRTY, summary_count, summary_note, summary_word
from rtmalloc.core.types cimport Allocator, PageHeap, Rise, Segment

cdef enum:
    PURGE_RUNS = 48            # runs per millisecond since the last part of a pass: about 50 us where many go by one call, ...
    PURGE_RUNS_ALONE = 16      # ... and where each is a call of its own
    PURGE_MOST_MS = 8          # milliseconds that count, for a process that calls us seldom: one part takes about one
    PURGE_SEGMENTS = 8         # segments looked at per millisecond: at most 512 spans, about 25 us
    PURGE_PATIENCE = 16        # how much longer than asked the adaptive delay may grow
    PURGE_HURRY_PASS = 50      # ms between two passes in a hurry
    PEAK_LEVEL = 2             # when the peak rises, segments with a run of at least 4 dirty slices are worth system calls, and
    PEAK_SLICES = 4            # ... so many slices a millisecond may go back: 64 MiB a second, 0.2 to 0.6 % of a CPU,
    PEAK_SLICES_MOST = 8192    # ... but at most 128 MiB at once
    PURGE_REGRET = 1048576     # bytes wanted back in one pass that are worth reacting to
    QUIET_NEVER = 0xFFFFFFFF   # no page return inside spans


cdef inline uint32_t purge_mask(
    Allocator* a, Batch* b, uint32_t s, uint64_t mask, bint lazily, bint regret
) noexcept nogil:
    # Give back the slices `mask` of segment s, which are free and which the caller has taken out of `free`; once the batch is
    # flushed they are free again, and clean (or muzzy). `regret`: count it when they are wanted back. How many runs it are.
    cdef uint32_t runs = 0
    cdef uint32_t first, length
    while mask:
        first = rt_lowest_bit(mask)
        length = run_length(mask, first)
        batch_add_slices(a, b, s * SEGMENT_SLICES + first, length, lazily, regret)
        mask &= ~mask_run(first, length)
        runs += 1
    return runs


cdef inline uint64_t purge_due(Allocator* a, uint32_t s, bint all, bint muzzy_step, uint64_t* muzzy) noexcept nogil:
    # Age segment s by one step (or, with `all`, regard everything as due) and take what is due out of `free`. *muzzy tells
    # which of it the kernel has been offered already. Where pages are longer than slices, only whole pages are due: their
    # slices are all free, some dirty, and none dirty that is not due; clean ones among them go with the others.
    cdef PageHeap* ph = &a.arena.pages
    cdef Segment* segment = &ph.segments[s]
    cdef uint32_t page = arena_page_slices(&a.arena)
    cdef uint64_t due
    lock_take(&ph.lock)
    due = segment.free & segment.dirty if all else segment_decay(segment, muzzy_step)
    if page > 1:
        due = mask_groups(segment.free & (due | ~segment.dirty), page) & ~mask_groups(~due, page)
    muzzy[0] = due & ~mask_groups(~(due & segment.muzzy), page)
    if due:
        segment.free &= ~due
        summary_count(ph, rt_count_bits(due), -<int64_t>rt_count_bits(due & segment.dirty))
        summary_note(ph, s)
    lock_drop(&ph.lock)
    return due


cdef inline uint32_t purge_segment(
    Allocator* a, Batch* b, uint32_t s, bint all, uint32_t quiet_wanted
) noexcept nogil:
    # One segment's turn in a pass: its free slices that are due, then the pages of its quiet spans. How many runs it are.
    cdef PageHeap* ph = &a.arena.pages
    cdef bint lazily = not all and a.options.value[RT_OPTION_muzzy_decay_ms] > 0
    cdef uint32_t runs = 0
    cdef uint32_t slice
    cdef uint64_t due
    cdef uint64_t muzzy = 0
    if rt_load_relaxed_u32(&ph.segments[s].level_dirty):
        due = purge_due(a, s, all, a.purge.muzzy_step, &muzzy)
        if lazily and muzzy:
            runs += purge_mask(a, b, s, muzzy, False, True)
            due &= ~muzzy
        runs += purge_mask(a, b, s, due, lazily, True)
    if quiet_wanted != QUIET_NEVER and rt_load_acquire_u32(&ph.segments[s].mapped) == SEGMENT_ACCESSIBLE:
        for slice in range(s * SEGMENT_SLICES, (s + 1) * SEGMENT_SLICES):
            runs += span_return(a, b, slice, quiet_wanted)
    return runs


cdef inline bint purge_idle(PageHeap* ph, uint32_t s) noexcept nogil:
    # A group whose memory went back in an earlier pass, and which nobody wanted since, lets its addresses go as well, so
    # that they count against no limit. Whether that was a system call.
    return (
        s & (RT_GROUP_SEGMENTS - 1) == 0
        and rt_load_acquire_u32(&ph.segments[s].mapped) == SEGMENT_ACCESSIBLE
        and not rt_load_relaxed_u32(&ph.segments[s].level_dirty)
        and growth_give_up(ph, s, False) > 0
    )


cdef inline uint32_t purge_quiet_wanted(Allocator* a) noexcept nogil:
    # How many passes a span must have gone undrawn.
    cdef int64_t quiet = a.options.value[RT_OPTION_page_return_ms]
    cdef int64_t interval = a.purge.delay_ms // 2
    if quiet < 0:
        return QUIET_NEVER
    if interval < 1:
        interval = 1
    quiet = (quiet + interval - 1) // interval - 1
    return <uint32_t>(1 if quiet < 1 else 200 if quiet > 200 else quiet)


cdef inline void purge_adapt(Allocator* a) noexcept nogil:
    # Before a pass: when more than half of what the last one gave back was wanted again, wait longer; else less.
    cdef int64_t base = a.options.value[RT_OPTION_dirty_decay_ms]
    # (What goes back for the peak's sake has a rule of its own.)
    cdef uint64_t given = ((a.purge.slices - a.purge.peak_slices) << RT_SLICE_SHIFT) + a.purge.spans.bytes
    cdef uint64_t wanted = (
        (rt_load_relaxed_u64(&a.arena.pages.wanted_back) << RT_SLICE_SHIFT)
        + rt_load_relaxed_u64(&a.returns_wanted)
    )
    if a.purge.delay_ms < base:
        a.purge.delay_ms = base
    if a.options.value[RT_OPTION_purge_adaptive] == 0:
        a.purge.delay_ms = base
    elif wanted - a.purge.wanted_before > PURGE_REGRET and (wanted - a.purge.wanted_before) * 2 > given - a.purge.given_before:
        a.purge.delay_ms *= 2
        if a.purge.delay_ms > PURGE_PATIENCE * base:
            a.purge.delay_ms = PURGE_PATIENCE * base
    else:
        a.purge.delay_ms -= (a.purge.delay_ms - base + 1) // 2
    a.purge.given_before = given
    a.purge.wanted_before = wanted


cdef inline cold_int purge_work(Allocator* a, uint64_t now, uint32_t pace) noexcept nogil:
    # Under the purge lock: begin a pass if one is due, and go on with it for as long as the time since the last part
    # allows, times `pace`. Whether the pass goes on.
    cdef PageHeap* ph = &a.arena.pages
    cdef uint64_t elapsed = now - a.purge.worked_at
    cdef uint32_t runs, segments, quiet_wanted
    cdef uint32_t done = 0
    cdef Batch b
    cdef bint hurry = now < rt_load_relaxed_u64(&a.purge.hurry_until)
    cdef bint at_once = hurry or a.options.value[RT_OPTION_dirty_decay_ms] == 0
    if elapsed > PURGE_MOST_MS:
        elapsed = PURGE_MOST_MS
    runs = <uint32_t>elapsed * (PURGE_RUNS if a.purge.vectors else PURGE_RUNS_ALONE) * pace
    segments = <uint32_t>elapsed * PURGE_SEGMENTS * pace
    rt_store_relaxed_u64(&a.purge.worked_at, now)
    # (A pass over a large heap takes longer than the time between two: it comes to its end all the same.)
    if now >= a.purge.pass_at and (a.purge.pass_at == 0 or a.purge.cursor >= page_heap_opened(ph)):
        purge_adapt(a)
        a.purge.pass_at = now + (PURGE_HURRY_PASS if hurry else a.purge.delay_ms // 2 if a.purge.delay_ms > 1 else 1)
        a.purge.cursor = 0
        a.purge.muzzy_step = now >= a.purge.muzzy_at
        if a.purge.muzzy_step:
            a.purge.muzzy_at = now + <uint64_t>a.options.value[RT_OPTION_muzzy_decay_ms] // 2
    quiet_wanted = 0 if hurry else purge_quiet_wanted(a)
    batch_open(&b)
    while a.purge.cursor < page_heap_opened(ph) and done < runs and segments:
        if purge_idle(ph, a.purge.cursor):
            done += 1
        done += purge_segment(a, &b, a.purge.cursor, at_once, quiet_wanted)
        a.purge.cursor += 1
        segments -= 1
    batch_flush(a, &b)
    return a.purge.cursor < page_heap_opened(ph)


cdef inline bint purge_is_wanted(Allocator* a, uint64_t now) noexcept nogil:
    # Whether passes are made at all: "never" holds until memory is short.
    return a.options.value[RT_OPTION_dirty_decay_ms] >= 0 or now < rt_load_relaxed_u64(&a.purge.hurry_until)


cdef inline void purge_hurry(Allocator* a, uint64_t until) noexcept nogil:
    # Until the clock says `until` everything free is due at once, however it was to be kept.
    if until > rt_load_relaxed_u64(&a.purge.hurry_until):
        rt_store_relaxed_u64(&a.purge.hurry_until, until)


cdef inline void purge_tick(Allocator* a, uint64_t now) noexcept nogil:
    # A thread passes by with the time in its hand: it does a bounded part of what is due, unless somebody is at it or has
    # done so since the clock last moved.
    if now == rt_load_relaxed_u64(&a.purge.worked_at) or not purge_is_wanted(a, now):
        return
    if not lock_try(&a.purge.lock):
        return
    if now >= a.purge.pass_at or a.purge.cursor < page_heap_opened(&a.arena.pages):
        purge_work(a, now, 1)
    lock_drop(&a.purge.lock)


cdef inline uint64_t purge_peak_allowance(Allocator* a, uint64_t now) noexcept nogil:
    # Slices that may go back for the peak's sake now. Under the purge lock.
    a.purge.peak_allowance += (now - a.purge.peak_at) * PEAK_SLICES
    if a.purge.peak_allowance > PEAK_SLICES_MOST:
        a.purge.peak_allowance = PEAK_SLICES_MOST
    a.purge.peak_at = now
    return a.purge.peak_allowance


cdef inline uint64_t purge_highest(Allocator* a, uint64_t slices) noexcept nogil:
    # Under the purge lock: give back at least `slices` dirty slices, or all in segments that have a long run of them. The
    # highest segments first: what lies low is used again first. Returns how many it were.
    cdef PageHeap* ph = &a.arena.pages
    cdef uint64_t began = a.purge.slices
    cdef uint64_t muzzy = 0
    cdef uint64_t due, word, before
    cdef uint32_t s
    cdef uint32_t w = (page_heap_opened(ph) + 63) // 64
    cdef Batch b
    batch_open(&b)
    while w and a.purge.slices - began < slices:
        w -= 1
        word = rt_load_relaxed_u64(summary_word(ph, SUMMARY_DIRTY, PEAK_LEVEL, w))
        while word and a.purge.slices - began < slices:
            s = w * 64 + rt_highest_bit(word)
            word &= ~(<uint64_t>1 << (s & 63))
            due = purge_due(a, s, True, False, &muzzy)
            if due:
                before = a.purge.slices
                purge_mask(a, &b, s, due, False, False)
                batch_flush(a, &b)
                if a.purge.slices == before:
                    # The kernel does not take it (locked memory): nor will it take the rest.
                    return a.purge.slices - began
    return a.purge.slices - began


cdef inline void purge_for_peak(Allocator* a, const Rise* rise) noexcept nogil:
    # A large block was taken. Where that has raised the peak, free memory that is kept for nothing but speed is no reason
    # for it: as much of it goes back, within the allowance.
    cdef uint64_t spared = rise.used_slices * <uint64_t>a.options.value[RT_OPTION_spare_percent] // 100
    if rise.slices and rise.dirty_slices > spared:
        purge_rise(a, rise.slices if rise.slices < rise.dirty_slices - spared else rise.dirty_slices - spared)


cdef inline slow_void purge_rise(Allocator* a, uint64_t most) noexcept nogil:
    # Give back `most` slices, as far as the allowance goes. That bounds what it costs a program whose large blocks come and
    # go.
    cdef uint64_t now = rt_os_clock_ms()
    cdef uint64_t given
    if not purge_is_wanted(a, now) or not lock_try(&a.purge.lock):
        return
    if most > purge_peak_allowance(a, now):
        most = a.purge.peak_allowance
    given = purge_highest(a, most)
    a.purge.peak_slices += given
    # Whole segments' shares go back, which may be more than was asked for.
    a.purge.peak_allowance -= given if given < a.purge.peak_allowance else a.purge.peak_allowance
    page_heap_lower_peak(&a.arena.pages, given if given < most else most)
    lock_drop(&a.purge.lock)


cdef inline cold_int purge_everything(Allocator* a) noexcept nogil:
    # Give back all free memory now: slices, pages inside spans, addresses. Whether there was any.
    cdef PageHeap* ph = &a.arena.pages
    cdef uint64_t given
    cdef int unmapped
    cdef uint32_t s
    cdef Batch b
    batch_open(&b)
    lock_take(&a.purge.lock)
    given = a.purge.slices + a.purge.spans.bytes
    for s in range(page_heap_opened(ph)):
        purge_segment(a, &b, s, True, 0)
    batch_flush(a, &b)
    # In a hurry the next pass does not wait for its time.
    if rt_os_clock_ms() < rt_load_relaxed_u64(&a.purge.hurry_until):
        a.purge.pass_at = rt_os_clock_ms() + PURGE_HURRY_PASS
    unmapped = growth_give_up_all(ph)
    given = a.purge.slices + a.purge.spans.bytes - given
    lock_drop(&a.purge.lock)
    return given > 0 or unmapped > 0
