# A shelf: the spans of one class that one slot has; drawing, coming home, hints.
# Its lock guards their state and queue; their bits are everybody's.
#
# A refill holds the lock. Everything else only tries it: a free whose object makes a span usable again, or whole, must not
# wait for a thread that has lost its CPU. Where the lock is taken, it leaves a *hint*, the span's slice, and tries once more;
# the holder looks at the hints after it has dropped the lock. So either the second try succeeds or the holder sees the hint.
# A hint may come twice, or for a span that has gone elsewhere: each look begins with the tag.
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from cython cimport unlikely

from rtmalloc.core.base._options cimport RT_OPTION_address_order, RT_OPTION_keep_empty
from rtmalloc.core.base.atomics cimport (
    rt_add_u64, rt_and_u64, rt_exchange_u32, rt_load_relaxed_u64, rt_load_relaxed_u8, rt_load_u32, rt_or_u64,
    rt_store_relaxed_u16, rt_store_relaxed_u32, rt_store_relaxed_u8, rt_swap_if_u32,
)
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.bitmap cimport mask_low, mask_lowest, rt_count_bits, rt_highest_bit, rt_lowest_bit
from rtmalloc.core.base.config cimport RT_SLICE_SHIFT
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.base.platform cimport RT_GUARDED, rt_guard_open
from rtmalloc.core.pages.tag cimport TAG_OWNER_SHIFT, tag_class, tag_is_small, tag_now
from rtmalloc.core.spans.formation cimport formation_release
from rtmalloc.core.spans.object cimport object_complain_twice
from rtmalloc.core.spans.span cimport (
    SPAN_CURRENT, SPAN_FULL, SPAN_HELD, SPAN_NONE, SPAN_PARTIAL, span_claim, span_claim_all, span_full_mask,
    span_is_whole, span_is_worth_it, span_lead, span_set_state, span_state, span_unit_bytes,
)
from rtmalloc.core.spans.span_queue cimport span_queue_insert, span_queue_remove, span_queue_take
from rtmalloc.core.types cimport SHELF_HINTS, Allocator, Run, Shelf, Span


cdef inline Shelf* shelf_of(Allocator* a, uint32_t tag) noexcept nogil:
    # The shelf that a tag of a small class names.
    return &a.slots[(tag >> TAG_OWNER_SHIFT) - 1].shelves[tag_class(tag)]


cdef inline void shelf_list(Allocator* a, Shelf* shelf, Span* s) noexcept nogil:
    # Under the lock: put a span into the queue.
    span_set_state(s, SPAN_PARTIAL)
    span_queue_insert(&shelf.partial, s, a.options.value[RT_OPTION_address_order] != 0)
    rt_store_relaxed_u32(&shelf.count, shelf.count + 1)


cdef inline Span* shelf_unlist(Shelf* shelf) noexcept nogil:
    # Under the lock: take the lowest span out of the queue, or NULL.
    cdef Span* s = span_queue_take(&shelf.partial)
    if s != NULL:
        rt_store_relaxed_u32(&shelf.count, shelf.count - 1)
    return s


cdef inline bint shelf_keeps(Allocator* a, const Shelf* shelf, const Span* s) noexcept nogil:
    # Whether the options keep a span although it is whole: the only one of the shelf with free objects.
    if a.options.value[RT_OPTION_keep_empty] == 0 or (shelf.current != NULL and shelf.current != s):
        return False
    return shelf.partial == NULL or (shelf.partial == s and s.child == NULL)


cdef inline void shelf_release(Allocator* a, Shelf* shelf, Span* s) noexcept nogil:
    # Under the lock, of a span whose objects we have all claimed.
    if s.state == SPAN_PARTIAL:
        span_queue_remove(&shelf.partial, s)
        rt_store_relaxed_u32(&shelf.count, shelf.count - 1)
    elif s.state == SPAN_CURRENT:
        shelf.current = NULL
    formation_release(a, s)


cdef inline bint shelf_settle(Allocator* a, Shelf* shelf, Span* s) noexcept nogil:
    # Under the lock: bring the state of one of the shelf's spans in line with its bits. A whole one is released: False, and
    # `s` is no span any more. A FULL one with enough free objects becomes PARTIAL.
    # A claim that comes back short was raced by a page purger or a free; theirs may have been the last object, so look again.
    if s.state == SPAN_HELD or s.state == SPAN_NONE:
        return True
    while span_is_whole(s) and not shelf_keeps(a, shelf, s):
        if span_claim_all(s):
            shelf_release(a, shelf, s)
            return False
    if s.state == SPAN_FULL and span_is_worth_it(s):
        shelf_list(a, shelf, s)
    return True


cdef inline void shelf_retire(Allocator* a, Shelf* shelf) noexcept nogil:
    # Under the lock: the current span has no more. First the state, then one more look: for what came home behind the scan.
    cdef Span* s = shelf.current
    shelf.current = NULL
    span_set_state(s, SPAN_FULL)
    shelf_settle(a, shelf, s)


# ---- hints

cdef inline bint shelf_hint(Shelf* shelf, uint32_t slice) noexcept nogil:
    # Leave a hint for the holder of the lock; False when there is no room.
    cdef uint32_t seen
    cdef int i
    for i in range(SHELF_HINTS):
        seen = 0
        if rt_swap_if_u32(&shelf.hints[i], &seen, slice + 1) or seen == slice + 1:
            return True
    return False


cdef inline bint shelf_has_hints(const Shelf* shelf) noexcept nogil:
    # Sequentially consistent loads behind the drop of the lock: pair with shelf_hint and the try that follows it.
    cdef int i
    for i in range(SHELF_HINTS):
        if rt_load_u32(&shelf.hints[i]):
            return True
    return False


cdef inline void shelf_look(Allocator* a, Shelf* shelf, uint32_t tag, uint32_t slice) noexcept nogil:
    # Under the lock of the shelf that `tag` names: settle the span of a slice whose tag that still is.
    cdef Span* s = &a.arena.spans[slice]
    # (The slice may have become the inside of a longer span: then there is nothing to do.)
    if tag_now(&a.arena, slice) == tag and s.index == slice:
        shelf_settle(a, shelf, s)


cdef inline slow_void shelf_read_hints(Allocator* a, Shelf* shelf, uint32_t tag) noexcept nogil:
    # The lock was dropped, and there are hints: look at their spans, unless somebody else has the lock by now.
    cdef uint32_t elsewhere[SHELF_HINTS]
    cdef uint32_t slice
    cdef int count, i
    while shelf_has_hints(shelf) and lock_try(&shelf.lock):
        count = 0
        for i in range(SHELF_HINTS):
            slice = rt_exchange_u32(&shelf.hints[i], 0)
            if slice == 0:
                continue
            if tag_now(&a.arena, slice - 1) == tag:
                shelf_look(a, shelf, tag, slice - 1)
            else:
                # It has gone to another slot meanwhile: not under this lock.
                elsewhere[count] = slice - 1
                count += 1
        lock_drop(&shelf.lock)
        for i in range(count):
            shelf_event(a, elsewhere[i])


cdef inline void shelf_leave(Allocator* a, Shelf* shelf, uint32_t tag) noexcept nogil:
    # Drop the lock of the shelf that `tag` names.
    lock_drop(&shelf.lock)
    if unlikely(shelf_has_hints(shelf)):
        shelf_read_hints(a, shelf, tag)


cdef inline slow_void shelf_event(Allocator* a, uint32_t slice) noexcept nogil:
    # The span of a slice has become usable or whole. We hold nothing of it any more, so it may be gone, or another slot's, or
    # another span may be there: the tag says whose lock to take, and is read again under it.
    cdef uint32_t tag
    cdef Shelf* shelf
    while True:
        tag = tag_now(&a.arena, slice)
        if not tag_is_small(tag):
            return
        shelf = shelf_of(a, tag)
        if not lock_try(&shelf.lock):
            if shelf_hint(shelf, slice):
                rt_add_u64(&a.hints, 1)
                shelf_read_hints(a, shelf, tag)
                return
            lock_take(&shelf.lock)
        shelf_look(a, shelf, tag, slice)
        shelf_leave(a, shelf, tag)
        if tag_now(&a.arena, slice) == tag or not tag_is_small(tag_now(&a.arena, slice)):
            return


cdef inline void shelf_put(Allocator* a, Span* s, uint32_t word, uint64_t mask) noexcept nogil:
    # Objects come home: into one word of their span's bitmap. The shelf hears of it if that makes a difference.
    # What is read before the OR is true: until then we hold an object, and the span is what we think it is.
    cdef uint64_t full = span_full_mask(s, word)
    cdef uint32_t worth = s.worth
    cdef uint32_t slice = s.index
    cdef uint64_t before = rt_or_u64(&s.bits[word], mask)
    cdef uint64_t now = before | mask
    cdef uint8_t state
    if unlikely(before & mask):
        object_complain_twice(s, word, before & mask)
    if now != full and (rt_count_bits(before) >= worth or rt_count_bits(now) < worth):
        return
    # The state after the OR: pairs with span_set_state in shelf_retire.
    state = span_state(s)
    if state == SPAN_FULL or (now == full and (state == SPAN_PARTIAL or state == SPAN_CURRENT) and span_is_whole(s)):
        shelf_event(a, slice)


cdef inline slow_void shelf_tidy(Allocator* a, uint32_t slice) noexcept nogil:
    # The purge pass has found the span of a slice CURRENT, although no refill has drawn from it for long: it goes into the
    # queue, where other slots find it.
    cdef uint32_t tag = tag_now(&a.arena, slice)
    cdef Shelf* shelf
    if not tag_is_small(tag):
        return
    shelf = shelf_of(a, tag)
    if not lock_try(&shelf.lock):
        return
    if shelf.current == &a.arena.spans[slice] and tag_now(&a.arena, slice) == tag:
        shelf_retire(a, shelf)
    shelf_leave(a, shelf, tag)


# ---- drawing

cdef enum:
    DRAW_VISITS = 4            # spans that one refill may gather from
    DRAW_RUNS = 64             # words that it may gather from

cdef struct Draw:
    # What a refill asks for, and what it got.
    uint32_t wanted            # objects
    uint32_t got
    uint32_t runs
    bint zeroed                # whether the first object is known to be zero
    Run run[DRAW_RUNS]


cdef inline void shelf_draw_begin(Draw* d, uint32_t wanted) noexcept nogil:
    d.wanted = wanted
    d.got = 0
    d.runs = 0
    d.zeroed = False


cdef inline void shelf_note_drawn(Allocator* a, Span* s, uint32_t first, uint32_t last) noexcept nogil:
    # For the page return: the span is busy, and what was returned of it from object `first` to object `last` is in use again.
    cdef uint64_t returned = rt_load_relaxed_u64(&s.returned)
    cdef uint32_t unit, lead
    if rt_load_relaxed_u8(&s.quiet):
        rt_store_relaxed_u8(&s.quiet, 0)
    if last >= s.fresh:
        rt_store_relaxed_u16(&s.fresh, <uint16_t>(last + 1))
    if returned:
        unit = span_unit_bytes(s.slices << RT_SLICE_SHIFT, a.arena.page_bytes)
        lead = span_lead(s.base, a.arena.page_bytes)
        returned &= mask_low((lead + last * s.size + s.size - 1) // unit + 1) & ~mask_low((lead + first * s.size) // unit)
        rt_and_u64(&s.returned, ~returned)
        rt_add_u64(&a.returns_wanted, rt_count_bits(returned) * unit)


cdef inline void shelf_guard_open(const Span* s, uint32_t first, uint64_t mask) noexcept nogil:
    # (RT_GUARD) The pages of claimed objects may have been given back. No thread can be giving them back now: it would need
    # all objects that overlap them.
    while mask:
        rt_guard_open(s.base + <size_t>(first + rt_lowest_bit(mask)) * s.size, s.size)
        mask &= mask - 1


cdef inline void shelf_draw_current(Allocator* a, Shelf* shelf, Draw* d) noexcept nogil:
    # Under the lock: claim objects of the current span, lowest first, from where the scan stands. None of them is touched.
    cdef Span* s = shelf.current
    cdef uint32_t w = shelf.word
    cdef uint32_t lowest = s.objects
    cdef uint32_t top = 0
    cdef uint64_t mask
    cdef Run* run
    while w < s.words and d.got < d.wanted and d.runs < DRAW_RUNS:
        mask = rt_load_relaxed_u64(&s.bits[w])
        if mask:
            mask = span_claim(s, w, mask_lowest(mask, d.wanted - d.got))
        if mask == 0:
            w += 1
            continue
        if RT_GUARDED:
            shelf_guard_open(s, w * 64, mask)
        if lowest == s.objects:
            lowest = w * 64 + rt_lowest_bit(mask)
            if d.got == 0:
                d.zeroed = lowest >= s.fresh
        top = w * 64 + rt_highest_bit(mask)
        run = &d.run[d.runs]
        run.first = s.base + <size_t>(w * 64) * s.size
        run.mask = mask
        run.size = s.size
        d.runs += 1
        d.got += rt_count_bits(mask)
    shelf.word = w
    if lowest != s.objects:
        shelf_note_drawn(a, s, lowest, top)


cdef inline void shelf_draw(Allocator* a, Shelf* shelf, Draw* d) noexcept nogil:
    # Under the lock: draw from the current span and then from those in the queue, as far as that goes.
    cdef bint by_address = a.options.value[RT_OPTION_address_order] != 0
    cdef uint32_t visit
    for visit in range(DRAW_VISITS):
        if by_address and shelf.current != NULL and shelf.partial != NULL and shelf.partial < shelf.current:
            # Lowest address first, at every refill: a span higher up may then drain.
            shelf_list(a, shelf, shelf.current)
            shelf.current = NULL
        if shelf.current == NULL:
            shelf.current = shelf_unlist(shelf)
            if shelf.current == NULL:
                return
            span_set_state(shelf.current, SPAN_CURRENT)
            shelf.word = 0
        shelf_draw_current(a, shelf, d)
        if d.got >= d.wanted or d.runs == DRAW_RUNS:
            return
        shelf_retire(a, shelf)


cdef inline void shelf_take_over(Allocator* a, Shelf* shelf, Span* s) noexcept nogil:
    # Under the lock: a span that the caller HELD, and whose tag names this shelf, joins it. (It may be whole: it is about to be
    # drawn from.)
    if shelf.current == NULL:
        shelf.current = s
        shelf.word = 0
        span_set_state(s, SPAN_CURRENT)
    else:
        shelf_list(a, shelf, s)
