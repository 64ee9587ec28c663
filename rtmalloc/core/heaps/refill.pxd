# Between a heap's bins and its spans: refill when a bin is empty, excess frees when it is full, and giving back.
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.base.atomics cimport (
    rt_add_u64, rt_and_u64, rt_load_relaxed_u8, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_store_relaxed_u8,
    rt_store_relaxed_u16, rt_store_relaxed_u32,
)
from rtmalloc.core.base.attributes cimport slow_pointer, slow_void
from rtmalloc.core.spans.central cimport Central
from rtmalloc.core.base.bitmap cimport mask_low, mask_lowest, rt_count_bits, rt_highest_bit, rt_lowest_bit
from rtmalloc.core.heaps.budget cimport budget_from_idle, heap_budget, heap_cover, heap_grant
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.heaps.heap cimport Bin, Heap, Source, bin_length, heap_own, heap_span_settle, heap_sweep
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.spans.mailbox cimport mailbox_is_due, mailbox_of
from rtmalloc.core.spans.object cimport Batch, batch_begin, batch_clear, batch_takes, object_locate
from rtmalloc.core.base.options cimport (
    RT_OPTION_address_order, RT_OPTION_bin_kib, RT_OPTION_bin_max, RT_OPTION_mailbox, RT_OPTION_refill_percent,
    RT_OPTION_slow_start_bytes, RT_OPTION_thread_kib,
)
from rtmalloc.core.pages.page_heap cimport SLICE_NONE
from rtmalloc.core.pages.pagemap cimport tag_of_slice, tag_owner
from rtmalloc.core.heaps.percpu cimport (
    RT_PERCPU_BUILT, RT_PERCPU_DONE, RT_PERCPU_ELSEWHERE, rt_percpu_swap, word_count, word_object, word_on_top,
)
from rtmalloc.core.base.platform cimport RT_GUARDED, rt_guard_open
from rtmalloc.core.heaps.remote cimport (
    heap_free_remote, heap_remote_flush, heap_takes_remote, mail_read, span_put, store_read_mail,
)
from rtmalloc.core.heaps.sample cimport heap_sample_fetched
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size, rt_class_slices
from rtmalloc.core.spans.span cimport SPAN_CURRENT, SPAN_FULL, SPAN_PARTIAL, Span, span_claim, span_has_free, span_unit_bytes
from rtmalloc.core.spans.span_queue cimport span_queue_insert, span_queue_take
from rtmalloc.core.spans.store cimport (
    Store, central_adopt, central_list, central_settle, central_unlist, store_slices_take, store_span_form, store_span_new,
)

cdef extern from "base/config.h":
    enum:
        RT_SHARD
        RT_SLICE_SHIFT


# ---- refill

cdef enum:
    REFILL_VISITS = 4          # spans that one refill may gather from
    SCOUT_HEAPS = 8            # mailboxes looked into before a new span is formed
    EXCESS_ALONE = 4096        # bytes: objects so large go home one by one, for a word of them would hold up to 2 MiB
    STEAL_BYTES = 2048         # how much a bin grows at the cost of others
    OVERFLOWS = 4              # times what a bin holds: so many objects that it did not take, without a refill
    FRESH_BYTES = 4096         # drawn at a time where that makes pages resident: a fault costs more than another refill
    POLL_SPANS = 8             # own spans that a refill looks at where no mail tells which


cdef inline uint16_t source_limit(Heap* h, Source* source, uint32_t size) noexcept nogil:
    # How many objects the bin may hold at most. Worked out anew after every epoch, so that a changed option counts.
    cdef const int64_t* option = h.store.options.value
    cdef int64_t most
    if source.limit == 0:
        most = option[RT_OPTION_bin_kib] * 1024 // size
        if most < 2:
            most = 2
        if most > option[RT_OPTION_bin_max]:
            most = option[RT_OPTION_bin_max]
        source.limit = <uint16_t>most
    return source.limit


cdef inline void bin_resize(Heap* h, uint32_t class_, int32_t change) noexcept nogil:
    # Grant a bin more capacity or take some away. What lies in it beyond its capacity stays until it is used.
    cdef Bin* b = &h.bins[class_]
    cdef int64_t bytes = <int64_t>change * rt_class_size[class_]
    b.room += change
    b.max_length = <uint16_t>(b.max_length + change)
    heap_grant(h, bytes)


cdef inline void heap_steal(Heap* h, uint32_t class_, int64_t bytes) noexcept nogil:
    # The budget is used up: take capacity for `class_` from other bins, going round. Bins that are often empty take often,
    # all give alike: so capacity moves to where the misses are.
    cdef uint32_t victim = h.steal
    cdef int32_t length
    cdef uint32_t i
    for i in range(rt_class_count):
        if bytes <= 0:
            break
        victim += 1
        if victim >= rt_class_count:
            victim = 1
        length = (h.bins[victim].max_length + 3) // 4
        if victim != class_ and length:
            bin_resize(h, victim, -length)
            bytes -= <int64_t>length * rt_class_size[victim]
    h.steal = victim


cdef inline void bin_grow(Heap* h, uint32_t class_) noexcept nogil:
    # Slow start: a bin's capacity begins small and doubles with each refill while the budgets last; then it grows a little
    # at the cost of others.
    cdef Bin* b = &h.bins[class_]
    cdef uint32_t size = rt_class_size[class_]
    cdef int64_t more = source_limit(h, &h.sources[class_], size) - <int64_t>b.max_length
    cdef int64_t wanted = b.max_length
    if more <= 0:
        return
    if wanted == 0:
        wanted = h.store.options.value[RT_OPTION_slow_start_bytes] // size
        if wanted < 2:
            wanted = 2
    if more > wanted:
        more = wanted
    if more * size > heap_budget(h):
        # A thread that has reached its own bound gets nothing by what others have.
        if h.granted_bytes + more * size <= h.store.options.value[RT_OPTION_thread_kib] * 1024:
            budget_from_idle(h, more * size)
    if more * size > heap_budget(h):
        if more * size > STEAL_BYTES:
            more = STEAL_BYTES // size
            if more == 0:
                more = 1
        heap_steal(h, class_, more * size - heap_budget(h))
        if more * size > heap_budget(h):
            return
    bin_resize(h, class_, <int32_t>more)


cdef inline Span* heap_span_next(Heap* h, Source* source, uint32_t class_) noexcept nogil:
    # A span of the class with free objects, now CURRENT: own ones first, then nobody's, then a new one; lowest first.
    cdef Span* s = span_queue_take(&source.partial)
    if s != NULL:
        h.counters.refill_partial += 1
    else:
        s = <Span*>central_adopt(h.store, h.id, class_)
        if s == NULL:
            # Before memory grows: what others have left unread in their mailboxes becomes nobody's, to be adopted.
            store_read_mail(h.store, h, SCOUT_HEAPS)
            s = <Span*>central_adopt(h.store, h.id, class_)
        if s != NULL:
            h.counters.refill_adopted += 1
        else:
            s = <Span*>store_span_new(h.store, h.id, class_)
            if s == NULL:
                return NULL
            h.counters.refill_new += 1
        heap_own(h, s)
    s.state = SPAN_CURRENT
    source.current = s
    source.word = 0
    return s


cdef inline void** chain_append(void** tail, Span* s, uint32_t first, uint64_t mask) noexcept nogil:
    # Link the objects of `mask`, which is not 0, behind `tail` in address order; object `first` is bit 0. Returns the new
    # tail.
    cdef size_t size = s.size
    cdef char* start = s.base + first * size
    cdef char* object_ = start + rt_lowest_bit(mask) * size
    cdef char* end
    if mask & (mask + (mask & -mask)) == 0:
        # One run, as in fresh or wholly returned words.
        end = start + rt_highest_bit(mask) * size
        while object_ <= end:
            tail[0] = object_
            tail = <void**>object_
            object_ += size
        return tail
    while mask:
        object_ = start + rt_lowest_bit(mask) * size
        mask &= mask - 1
        tail[0] = object_
        tail = <void**>object_
    return tail


cdef inline void span_guard_open(const Span* s, uint32_t first, uint64_t mask) noexcept nogil:
    # (RT_GUARD) The pages of claimed objects may have been given back. Nobody can be giving them back now: he would need all
    # objects that overlap them.
    while mask:
        rt_guard_open(s.base + <size_t>(first + rt_lowest_bit(mask)) * s.size, s.size)
        mask &= mask - 1


cdef inline void span_note_drawn(Heap* h, Span* s, uint32_t first, uint32_t last) noexcept nogil:
    # For the page return: the span is busy, and what was returned of it from object `first` to object `last` is touched
    # again.
    cdef uint64_t returned = rt_load_relaxed_u64(&s.returned)
    cdef uint32_t unit
    if rt_load_relaxed_u8(&s.quiet):
        rt_store_relaxed_u8(&s.quiet, 0)
    if returned:
        unit = span_unit_bytes(s.slices << RT_SLICE_SHIFT, h.store.arena.page_bytes)
        returned &= mask_low((last * s.size + s.size - 1) // unit + 1) & ~mask_low(first * s.size // unit)
        rt_and_u64(&s.returned, ~returned)
        rt_add_u64(&h.store.returns_wanted, rt_count_bits(returned) * unit)


cdef inline uint32_t span_draw_most(const Span* s, uint32_t wanted) noexcept nogil:
    # How many objects to draw when `wanted` would be welcome. To link an object is to touch it, and its page then stays,
    # whether the object is asked for or not: pages that are not there are drawn as the program asks for them.
    cdef uint32_t most
    if s.fresh >= s.objects and not rt_load_relaxed_u64(&s.returned):
        return wanted
    most = FRESH_BYTES // s.size
    if most == 0:
        most = 1
    return most if most < wanted else wanted


cdef inline uint32_t span_draw(
    Heap* h, Span* s, Source* source, uint32_t wanted, void*** tail, void** first, bint* zeroed
) noexcept nogil:
    # Claim up to `wanted` objects of the current span, lowest first. The first one is set apart in *first, untouched;
    # the others are linked behind *tail. Returns how many there were.
    cdef uint32_t got = 0
    cdef uint32_t w = source.word
    cdef uint32_t lowest = s.objects
    cdef uint32_t top = 0
    cdef uint64_t mask
    while w < s.words and got < wanted:
        mask = rt_load_relaxed_u64(&s.bits[w])
        if mask:
            mask = span_claim(s, w, mask_lowest(mask, wanted - got))
        if mask == 0:
            w += 1
            continue
        got += rt_count_bits(mask)
        if lowest == s.objects:
            lowest = w * 64 + rt_lowest_bit(mask)
        if RT_GUARDED:
            span_guard_open(s, w * 64, mask)
        if first[0] == NULL:
            top = w * 64 + rt_lowest_bit(mask)
            first[0] = s.base + <size_t>top * s.size
            zeroed[0] = top >= s.fresh
            mask &= mask - 1
        if mask:
            tail[0] = chain_append(tail[0], s, w * 64, mask)
            top = w * 64 + rt_highest_bit(mask)
        if top >= s.fresh:
            rt_store_relaxed_u16(&s.fresh, <uint16_t>(top + 1))
    source.word = w
    if got:
        span_note_drawn(h, s, lowest, top)
    return got


cdef inline uint32_t heap_draw(Heap* h, uint32_t class_, uint32_t wanted, void*** tail, void** first) noexcept nogil:
    # Claim up to `wanted` objects of a class from the lowest of its spans that has some; 0 when there is no memory.
    # Under the heap's lock.
    cdef Source* source = &h.sources[class_]
    cdef Span* s = source.current
    cdef uint32_t got = 0
    cdef uint32_t visits = 0
    cdef bint by_address = h.store.options.value[RT_OPTION_address_order] != 0
    if by_address and s != NULL and source.partial != NULL and source.partial < s:
        # Lowest address first, at every refill: a span higher up may then drain.
        s.state = SPAN_PARTIAL
        span_queue_insert(&source.partial, s, True)
        s = heap_span_next(h, source, class_)
    elif s != NULL:
        h.counters.refill_current += 1
    if s != NULL:
        wanted = span_draw_most(s, wanted)
        got = span_draw(h, s, source, wanted, tail, first, &h.last_zeroed)
    while got < wanted and visits < REFILL_VISITS:
        if s != NULL:
            # Nothing more from the scan on to the end: full, unless something came home behind the scan.
            s.state = SPAN_FULL
            source.current = NULL
            heap_span_settle(h, s)
        if got and source.partial == NULL:
            # Enough of what is there; adopting or forming a span is for an empty hand.
            break
        s = heap_span_next(h, source, class_)
        if s == NULL:
            break
        wanted = got + span_draw_most(s, wanted - got)
        got += span_draw(h, s, source, wanted - got, tail, first, &h.last_zeroed)
        if got:
            visits += 1
    source.dry = source.current == NULL and source.partial == NULL
    return got


cdef inline uint32_t central_draw(Heap* h, uint32_t class_, uint32_t wanted, void*** tail, void** first) noexcept nogil:
    # heap_draw where no span has an owner: from the first spans of the central store, under the class lock.
    cdef Store* store = h.store
    cdef Central* central = &store.central[class_]
    cdef Source* source = &h.sources[class_]
    cdef Span* s
    cdef uint32_t got = 0
    cdef uint32_t visits = 0
    cdef uint32_t slice, drawn
    cdef bint zeroed
    lock_take(&central.lock)
    while got < wanted and visits < REFILL_VISITS:
        s = central.queue
        if s != NULL:
            h.counters.refill_adopted += 1
        elif got:
            break
        else:
            # The page heap may make a system call: not under a lock that others wait for.
            lock_drop(&central.lock)
            slice = store_slices_take(store, rt_class_slices[class_], &zeroed)
            if slice == SLICE_NONE:
                return 0
            lock_take(&central.lock)
            s = store_span_form(store, slice, 0, class_, zeroed)
            central_list(store, s, class_)
            h.counters.refill_new += 1
        source.word = 0
        wanted = got + span_draw_most(s, wanted - got)
        drawn = span_draw(h, s, source, wanted - got, tail, first, &h.last_zeroed)
        got += drawn
        visits += drawn != 0
        if not span_has_free(s):
            # Out of the queue first, then one more look: for what came home meanwhile, as in central_abandon.
            central_unlist(store, s, class_)
            central_settle(store, s, class_)
    lock_drop(&central.lock)
    return got


cdef inline slow_pointer heap_refill(Heap* h, uint32_t class_, size_t bytes, uint32_t most) noexcept nogil:
    # Fill the empty bin of a class and return one object more; NULL when there is no memory. `most` bounds the number of
    # objects (calloc asks for single ones, to know whether they are zero); `bytes` is what was asked for.
    cdef Bin* b = &h.bins[class_]
    cdef Source* source = &h.sources[class_]
    cdef void* chain = NULL
    cdef void** tail = &chain
    cdef void* first = NULL
    cdef uint32_t wanted
    cdef uint32_t got
    if source.excess.span != NULL:
        heap_excess_flush(h, source)
    if mailbox_is_due(mailbox_of(&h.store.arena, h.id), source.dry):
        mail_read(h.store, h, h.id, False)
    if h.store.options.value[RT_OPTION_mailbox] == 0:
        heap_sweep(h, POLL_SPANS)
    if b.refills < 255:
        b.refills += 1
    source.overflows = 0
    bin_grow(h, class_)
    wanted = <uint32_t>(b.max_length * h.store.options.value[RT_OPTION_refill_percent] // 100)
    if wanted > most:
        wanted = most
    if wanted < 1:
        wanted = 1
    if RT_SHARD == 0:
        got = central_draw(h, class_, wanted, &tail, &first)
    else:
        lock_take(&h.lock)
        got = heap_draw(h, class_, wanted, &tail, &first)
        lock_drop(&h.lock)
    if got == 0:
        return NULL
    tail[0] = NULL
    # `first` goes to the caller: the bin has the others.
    if RT_PERCPU_BUILT and h.cpu:
        cpu_bin_give(h, class_, chain, got - 1)
        return first
    b.head = chain
    b.room = <int32_t>b.max_length - <int32_t>(got - 1)
    if h.recording:
        return heap_sample_fetched(h, class_, bytes, first, got)
    return first


# ---- frees that the bins do not take

cdef inline slow_void heap_excess_flush(Heap* h, Source* source) noexcept nogil:
    cdef Batch batch = source.excess
    cdef uint32_t count = rt_count_bits(batch.mask)
    batch_clear(&source.excess)
    h.counters.excess_batches += 1
    h.counters.excess_frees += count
    source.overflows += count
    span_put(h.store, h, &batch)


cdef inline slow_void heap_free_excess(Heap* h, void* p, uint32_t class_) noexcept nogil:
    # The bin of an own object is full: the object goes to its span, in company.
    cdef Source* source = &h.sources[class_]
    cdef uint32_t object_ = 0
    cdef Span* s
    if batch_takes(&source.excess, p):
        return
    s = object_locate(&h.store.arena, p, &object_)
    if s == NULL:
        complain_of_pointer(b"free", p, b"not the start of a block")
    if source.excess.span != NULL:
        heap_excess_flush(h, source)
    batch_begin(&source.excess, s, object_, class_)
    if s.size >= EXCESS_ALONE:
        heap_excess_flush(h, source)


# ---- the bins of a CPU (percpu.pxd), for who has its heap's turn

cdef inline int cpu_bin_swap(Heap* h, Bin* b, uint64_t seen, uint64_t next) noexcept nogil:
    # A bin's word from `seen` to `next`, if it can be done from here: RT_PERCPU_DONE, _CHANGED or _ELSEWHERE. It may be
    # that we have been moved to another CPU since we took the turn.
    if h.stopped:
        b.head = <void*>next
        return RT_PERCPU_DONE
    return rt_percpu_swap(h.cpu - 1, h, <uint64_t*>&b.head, seen, next)


cdef inline uint64_t cpu_bin_take(Heap* h, Bin* b) noexcept nogil:
    # All objects of a bin, as its word; 0 when there are none, or they are out of reach.
    cdef uint64_t word
    cdef int answer
    while True:
        word = rt_load_relaxed_u64(<uint64_t*>&b.head)
        if word == 0:
            return 0
        # The word stands for the whole list: if it is back at an old value, so is what hangs on it, or is what it is now.
        answer = cpu_bin_swap(h, b, word, 0)
        if answer == RT_PERCPU_DONE:
            return word
        if answer == RT_PERCPU_ELSEWHERE:
            return 0


cdef inline void cpu_send_home(Heap* h, void* p, uint32_t class_) noexcept nogil:
    # An object goes to its span, in company. The bins of a CPU take objects of whatever span.
    cdef uint32_t object_ = 0
    cdef Span* s
    if batch_takes(&h.sources[class_].excess, p):
        return
    if tag_owner(tag_of_slice(&h.store.arena, arena_slice_of(&h.store.arena, p))) == h.id:
        heap_free_excess(h, p, class_)
    elif not heap_takes_remote(h, p):
        s = object_locate(&h.store.arena, p, &object_)
        if s == NULL:
            complain_of_pointer(b"free", p, b"not the start of a block")
        heap_free_remote(h, p, s, object_, class_)


cdef inline void cpu_bin_give(Heap* h, uint32_t class_, void* chain, uint32_t count) noexcept nogil:
    # `count` linked objects go into a bin, on top of what others have put there meanwhile; home, if it is out of reach.
    cdef Bin* b = &h.bins[class_]
    cdef uint64_t below, word
    cdef int answer
    while count:
        below = rt_load_relaxed_u64(<uint64_t*>&b.head)
        word = word_on_top(chain, count, below)
        answer = cpu_bin_swap(h, b, below, word)
        if answer == RT_PERCPU_DONE:
            return
        if answer == RT_PERCPU_ELSEWHERE:
            break
    while count:
        word = (<uint64_t*>chain)[0]
        cpu_send_home(h, chain, class_)
        chain = word_object(word)
        count -= 1


cdef inline void cpu_bin_flush(Heap* h, uint32_t class_, uint32_t keep) noexcept nogil:
    # Return all but `keep` objects of a bin to their spans: the newest ones, because what is below them is a bin as it is.
    cdef Bin* b = &h.bins[class_]
    cdef uint64_t word, rest
    if word_count(rt_load_relaxed_u64(<uint64_t*>&b.head)) <= keep:
        return
    word = cpu_bin_take(h, b)
    while word_count(word) > keep:
        rest = (<uint64_t*>word_object(word))[0]
        cpu_send_home(h, word_object(word), class_)
        h.counters.flushed_objects += 1
        word = rest
    if word and cpu_bin_swap(h, b, 0, word) != RT_PERCPU_DONE:
        cpu_bin_give(h, class_, word_object(word), word_count(word))


cdef inline void cpu_bin_make_room(Heap* h, uint32_t class_) noexcept nogil:
    # A bin has not taken an object. Where the class is only ever freed it gets its first capacity here; a full one gives up
    # half of what it has, so that the next frees need nobody's turn.
    cdef Bin* b = &h.bins[class_]
    if b.max_length == 0:
        bin_grow(h, class_)
    elif bin_length(h, b) >= b.max_length:
        cpu_bin_flush(h, class_, b.max_length // 2)


# ---- giving back

cdef inline void bin_flush(Heap* h, uint32_t class_, int32_t keep) noexcept nogil:
    # Return all but `keep` objects of a bin to their spans: the oldest ones, which lie deepest.
    cdef Bin* b = &h.bins[class_]
    cdef Source* source = &h.sources[class_]
    cdef void** link = &b.head
    cdef void** fence = &source.fence
    cdef void* p
    cdef void* below
    cdef void* rest
    cdef int32_t i
    if RT_PERCPU_BUILT and h.cpu:
        cpu_bin_flush(h, class_, <uint32_t>keep)
        if source.excess.span != NULL:
            heap_excess_flush(h, source)
        return
    for i in range(keep):
        if link[0] != NULL:
            link = <void**>link[0]
        elif fence[0] != NULL:
            link = <void**>fence[0]
            fence = &link[1]
        else:
            return
    p = link[0]
    link[0] = NULL
    below = fence[0]
    fence[0] = NULL
    while p != NULL or below != NULL:
        if p == NULL:
            p = below
            below = (<void**>p)[1]
        rest = (<void**>p)[0]
        b.room += 1
        heap_free_excess(h, p, class_)
        h.counters.flushed_objects += 1
        p = rest
    if source.excess.span != NULL:
        heap_excess_flush(h, source)


cdef inline slow_void bin_close(Heap* h, uint32_t class_) noexcept nogil:
    # Give back all of a bin, objects and capacity: its next refill is a slow start.
    bin_flush(h, class_, 0)
    if h.bins[class_].max_length:
        bin_resize(h, class_, -<int32_t>h.bins[class_].max_length)


cdef inline bint bin_is_useless(const Heap* h, uint32_t class_) noexcept nogil:
    # A thread has freed many times more than the bin holds and has never found it empty since: what lies in it may be the
    # last objects of many spans, of a thread that is about to sleep. (The bins of CPUs stay.)
    return h.sources[class_].overflows > OVERFLOWS * <uint32_t>h.bins[class_].max_length and h.bins[class_].max_length != 0


cdef inline slow_void heap_flush(Heap* h) noexcept nogil:
    # Give back every object that the heap holds in bins and caches, and look at the mail.
    cdef uint32_t c
    for c in range(1, rt_class_count):
        bin_close(h, c)
    # It is granted nothing any more; this clears what was taken off its account.
    heap_cover(h, True)
    heap_remote_flush(h)
    mail_read(h.store, h, h.id, False)


cdef inline void heaps_flush(Store* store, Heap* self) noexcept nogil:
    # Have every heap give back what it caches: the caller's (or NULL) at once, the others at their next tick.
    rt_store_relaxed_u32(&store.flush_epoch, rt_load_relaxed_u32(&store.flush_epoch) + 1)
    if self != NULL:
        self.flush_seen = rt_load_relaxed_u32(&store.flush_epoch)
        heap_flush(self)
