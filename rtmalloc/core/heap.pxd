# A thread's heap: bounded LIFO bins in front of the spans that the thread owns. Only its thread touches it; what others
# have to say goes to the spans' bitmaps and to the heap's mailbox.
#
#     bin.room + objects in the bin = bin.max_length
#     granted_bytes = sum over the bins of max_length * size            <= thread_kib, and all heaps' <= total_kib
#     an owned span is CURRENT (its class refills from it), PARTIAL (in the class's queue) or FULL (in neither)
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtmalloc.core.arena cimport arena_slice_of
from rtmalloc.core.atomics cimport rt_add_u64, rt_load_relaxed_u64, rt_load_u64
from rtmalloc.core.attributes cimport slow_pointer, slow_void
from rtmalloc.core.bitmap cimport mask_lowest, rt_count_bits, rt_highest_bit, rt_lowest_bit
from rtmalloc.core.central cimport CLASSES_MOST
from rtmalloc.core.complain cimport complain_of_pointer
from rtmalloc.core.mailbox cimport Mailbox, mailbox_has_mail, mailbox_next, mailbox_of, mailbox_take
from rtmalloc.core.options cimport (
    RT_OPTION_bin_kib, RT_OPTION_bin_max, RT_OPTION_refill_percent, RT_OPTION_remote_kib, RT_OPTION_slow_start_bytes,
    RT_OPTION_thread_kib, RT_OPTION_total_kib,
)
from rtmalloc.core.pagemap cimport tag_class, tag_of_slice
from rtmalloc.core.remote cimport (
    PUT_MINE, REMOTE_SLOTS, Batch, complain_of_double_free, object_locate, span_event, span_put,
)
from rtmalloc.core.size_class cimport RT_CLASS_COUNT, rt_class_size
from rtmalloc.core.span cimport (
    SPAN_CURRENT, SPAN_FULL, SPAN_NONE, SPAN_PARTIAL, Span, span_claim, span_claim_all, span_has_free, span_is_whole,
)
from rtmalloc.core.span_queue cimport span_queue_insert, span_queue_remove, span_queue_take
from rtmalloc.core.store cimport (
    Store, central_adopt, span_slice, store_span_new, store_span_release,
)

cdef enum:
    HEAP_BEAT = 4096           # frees between two ticks: at 5 ns each, a clock is read every 20 us at most
    BINS_OFFSET = 64           # where bin 0 lies in a Heap; the fast paths add the tag's code to it

cdef struct Bin:
    void* head                 # free objects, linked through their first word
    int32_t room               # how many more it takes
    uint16_t max_length        # 0 until its first refill
    uint8_t refills            # since the last epoch, saturating
    uint8_t idle               # epochs in a row without a refill

cdef struct Source:
    # Where one class's objects come from, and where those go that its bin has no room for.
    Span* current              # being refilled from, or NULL
    Span* partial              # queue of spans with free objects (span_queue.pxd)
    uint32_t word              # where the scan of `current` stands
    uint32_t low               # fewest objects the bin held when the epoch looked
    Batch excess               # freed objects on their way to their span

cdef struct HeapCounters:
    uint64_t refill_current    # refills served by the current span ...
    uint64_t refill_partial    # ... by another own span
    uint64_t refill_adopted    # ... by a span adopted from the central store
    uint64_t refill_new        # ... by a new span
    uint64_t excess_frees      # frees that went to their span because the bin was full
    uint64_t excess_batches    # ... and in how many atomic steps
    uint64_t remote_frees      # frees of objects of other heaps' (or nobody's) spans
    uint64_t remote_batches    # ... and in how many atomic steps
    uint64_t mail_spans        # spans found in the mailbox
    uint64_t mail_takes        # times that it was emptied
    uint64_t spans_retired     # own spans released when their last object came home
    uint64_t ticks             # heartbeats
    uint64_t epochs
    uint64_t flushed_objects   # given back by scavenging

cdef struct Heap:
    # -- the line that every malloc and free reads
    uint32_t tag_base          # own id << 11: tag - tag_base is the bin's offset if the object is ours
    int32_t beat               # frees until the next tick
    Store* store
    uint32_t id                # 1..65535
    uint32_t live              # 1 while a thread has it
    int64_t granted_bytes      # capacity of all bins
    int64_t remote_room        # bytes that the sender's cache may still take
    uint64_t epoch_at          # clock, in ms, of the next epoch
    Heap* pool_next            # while no thread has it: the next such heap
    uint8_t padding[8]
    # -- BINS_OFFSET
    Bin bins[CLASSES_MOST]
    Source sources[CLASSES_MOST]
    Batch remote[REMOTE_SLOTS] # the sender's cache: objects of spans that are not ours
    Span* owned                # all own spans
    Span* sweep                # where the epoch's look at own spans goes on
    bint last_zeroed           # whether the object that the last refill returned is known to be zero
    HeapCounters counters


cdef inline Bin* heap_bin(Heap* h, uint32_t class_) noexcept nogil:
    return &h.bins[class_]


cdef inline int32_t bin_length(const Bin* b) noexcept nogil:
    return b.max_length - b.room


# ---- own spans

cdef inline void heap_own(Heap* h, Span* s) noexcept nogil:
    s.own_previous = NULL
    s.own_next = h.owned
    if h.owned != NULL:
        h.owned.own_previous = s
    h.owned = s


cdef inline void heap_disown(Heap* h, Span* s) noexcept nogil:
    if h.sweep == s:
        h.sweep = s.own_next
    if s.own_previous != NULL:
        s.own_previous.own_next = s.own_next
    else:
        h.owned = s.own_next
    if s.own_next != NULL:
        s.own_next.own_previous = s.own_previous


cdef inline slow_void heap_span_settle(Heap* h, Span* s) noexcept nogil:
    # Bring an own span's state in line with its bitmap: FULL with a free object becomes PARTIAL, whole is released.
    # A claim that fails was raced by a page purger or a free; theirs may have been the last object, so look again.
    cdef Source* source = &h.sources[s.class_]
    while span_is_whole(s):
        if span_claim_all(s):
            if s.state == SPAN_PARTIAL:
                span_queue_remove(&source.partial, s)
            elif s.state == SPAN_CURRENT:
                source.current = NULL
            heap_disown(h, s)
            h.counters.spans_retired += 1
            store_span_release(h.store, s)
            return
    if s.state == SPAN_FULL and span_has_free(s):
        s.state = SPAN_PARTIAL
        span_queue_insert(&source.partial, s)


cdef inline slow_void heap_mail_read(Heap* h, bint close) noexcept nogil:
    # Look at the spans that others freed into. A span that is no longer ours is passed on to whoever has it now.
    cdef Span* s = mailbox_take(mailbox_of(&h.store.arena, h.id), close)
    cdef Span* rest
    h.counters.mail_takes += 1
    while s != NULL:
        rest = mailbox_next(s)
        h.counters.mail_spans += 1
        heap_hint(h, s)
        s = rest


cdef inline void heap_hint(Heap* h, Span* s) noexcept nogil:
    # Deal with a hint about any span entry, whatever it is by now.
    cdef uint32_t class_ = tag_class(tag_of_slice(&h.store.arena, span_slice(h.store, s)))
    if class_ != 0 and class_ < RT_CLASS_COUNT and span_event(h.store, h.id, s, class_) == PUT_MINE:
        # An entry inside a longer span is no span of its own any more.
        if s.index == span_slice(h.store, s):
            heap_span_settle(h, s)


cdef inline void heap_put(Heap* h, const Batch* batch) noexcept nogil:
    # Return a batch to its span, own or not.
    if span_put(h.store, h.id, batch) == PUT_MINE:
        heap_span_settle(h, batch.span)


# ---- refill

cdef inline void bin_grow(Heap* h, Bin* b, uint32_t size) noexcept nogil:
    # Slow start: a bin's capacity begins small and doubles with each refill, while bin, thread and process budgets last.
    cdef Store* store = h.store
    cdef int64_t most = store.options.value[RT_OPTION_bin_kib] * 1024 // size
    cdef int64_t wanted
    cdef int64_t more
    if most < 2:
        most = 2
    if most > store.options.value[RT_OPTION_bin_max]:
        most = store.options.value[RT_OPTION_bin_max]
    if b.max_length:
        wanted = 2 * b.max_length
    else:
        wanted = store.options.value[RT_OPTION_slow_start_bytes] // size
        if wanted < 2:
            wanted = 2
    if wanted > most:
        wanted = most
    more = (wanted - b.max_length) * size
    if more <= 0 or h.granted_bytes + more > store.options.value[RT_OPTION_thread_kib] * 1024:
        return
    if <int64_t>rt_load_relaxed_u64(&store.cached_bytes) + more > store.options.value[RT_OPTION_total_kib] * 1024:
        return
    rt_add_u64(&store.cached_bytes, <uint64_t>more)
    h.granted_bytes += more
    b.room += <int32_t>(wanted - b.max_length)
    b.max_length = <uint16_t>wanted


cdef inline Span* heap_span_next(Heap* h, Source* source, uint32_t class_) noexcept nogil:
    # A span of the class with free objects, now CURRENT: own ones first, then nobody's, then a new one; lowest first.
    cdef Span* s = span_queue_take(&source.partial)
    if s != NULL:
        h.counters.refill_partial += 1
    else:
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
    s.quiet = 0
    source.current = s
    source.word = 0
    return s


cdef inline void** chain_append(void** tail, Span* s, uint32_t first, uint64_t mask) noexcept nogil:
    # Link the objects of `mask` behind `tail` in address order; object `first` is bit 0. Returns the new tail.
    cdef char* start = s.base + <size_t>first * s.size
    cdef void** object_
    while mask:
        object_ = <void**>(start + <size_t>rt_lowest_bit(mask) * s.size)
        mask &= mask - 1
        tail[0] = object_
        tail = object_
    return tail


cdef inline uint32_t span_draw(Span* s, Source* source, uint32_t wanted, void*** tail, void** first, bint* zeroed) noexcept nogil:
    # Claim up to `wanted` objects of the current span, lowest first. The first one is set apart in *first, untouched;
    # the others are linked behind *tail. Returns how many there were.
    cdef uint32_t got = 0
    cdef uint32_t w = source.word
    cdef uint32_t top
    cdef uint64_t mask
    while w < s.words and got < wanted:
        mask = rt_load_relaxed_u64(&s.bits[w])
        if mask:
            mask = span_claim(s, w, mask_lowest(mask, wanted - got))
        if mask == 0:
            w += 1
            continue
        got += rt_count_bits(mask)
        if first[0] == NULL:
            top = w * 64 + rt_lowest_bit(mask)
            first[0] = s.base + <size_t>top * s.size
            zeroed[0] = top >= s.fresh
            mask &= mask - 1
        if mask:
            tail[0] = chain_append(tail[0], s, w * 64, mask)
            top = w * 64 + rt_highest_bit(mask)
        if top >= s.fresh:
            s.fresh = <uint16_t>(top + 1)
    source.word = w
    return got


cdef inline slow_pointer heap_refill(Heap* h, uint32_t class_, uint32_t most) noexcept nogil:
    # Fill the empty bin of a class and return one object more; NULL when there is no memory. `most` bounds the number of
    # objects (calloc asks for single ones, to know whether they are zero).
    cdef Bin* b = &h.bins[class_]
    cdef Source* source = &h.sources[class_]
    cdef Span* s
    cdef void* chain = NULL
    cdef void** tail = &chain
    cdef void* first = NULL
    cdef uint32_t wanted
    cdef uint32_t got = 0
    if source.excess.span != NULL:
        heap_excess_flush(h, source)
    if mailbox_has_mail(mailbox_of(&h.store.arena, h.id)):
        heap_mail_read(h, False)
    if b.refills < 255:
        b.refills += 1
    bin_grow(h, b, rt_class_size[class_])
    wanted = <uint32_t>(b.max_length * h.store.options.value[RT_OPTION_refill_percent] // 100)
    if wanted > most:
        wanted = most
    if wanted < 1:
        wanted = 1
    s = source.current
    if s != NULL:
        got = span_draw(s, source, wanted, &tail, &first, &h.last_zeroed)
        h.counters.refill_current += 1
    while got == 0:
        if s != NULL:
            # Nothing from the scan on to the end: full, unless something came home behind the scan.
            s.state = SPAN_FULL
            source.current = NULL
            heap_span_settle(h, s)
        s = heap_span_next(h, source, class_)
        if s == NULL:
            return NULL
        got = span_draw(s, source, wanted, &tail, &first, &h.last_zeroed)
    tail[0] = NULL
    # `first` goes to the caller: the bin has the others.
    b.head = chain
    b.room = <int32_t>b.max_length - <int32_t>(got - 1)
    return first


# ---- frees that the bins do not take

cdef inline slow_void heap_excess_flush(Heap* h, Source* source) noexcept nogil:
    cdef Batch batch = source.excess
    source.excess.span = NULL
    h.counters.excess_batches += 1
    heap_put(h, &batch)


cdef inline bint batch_add(Batch* batch, Span* s, uint32_t object_) noexcept nogil:
    # Add an object if it belongs to the batch's word; whether it did.
    cdef uint64_t bit = <uint64_t>1 << (object_ & 63)
    if batch.span != s or batch.word != object_ >> 6:
        return False
    if batch.mask & bit:
        complain_of_double_free(s, batch.word, bit)
    batch.mask |= bit
    return True


cdef inline void batch_begin(Batch* batch, Span* s, uint32_t object_, uint32_t class_) noexcept nogil:
    batch.span = s
    batch.word = object_ >> 6
    batch.mask = <uint64_t>1 << (object_ & 63)
    batch.class_ = class_


cdef inline slow_void heap_free_excess(Heap* h, void* p, uint32_t class_) noexcept nogil:
    # The bin of an own object is full: the object goes to its span, in company.
    cdef Source* source = &h.sources[class_]
    cdef uint32_t object_ = 0
    cdef Span* s = object_locate(&h.store.arena, p, &object_)
    if s == NULL:
        complain_of_pointer(b"free", p, b"not the start of a block")
    h.counters.excess_frees += 1
    if batch_add(&source.excess, s, object_):
        return
    if source.excess.span != NULL:
        heap_excess_flush(h, source)
    batch_begin(&source.excess, s, object_, class_)


cdef inline slow_void heap_remote_flush(Heap* h) noexcept nogil:
    # Send everything that the sender's cache holds.
    cdef Batch batch
    cdef uint32_t i
    for i in range(REMOTE_SLOTS):
        if h.remote[i].span != NULL:
            batch = h.remote[i]
            h.remote[i].span = NULL
            h.counters.remote_batches += 1
            heap_put(h, &batch)
    h.remote_room = h.store.options.value[RT_OPTION_remote_kib] * 1024


cdef inline void heap_free_remote(Heap* h, Span* s, uint32_t object_, uint32_t class_) noexcept nogil:
    # An object of somebody else's span: group it with others of the same 64, then send them with one atomic step.
    cdef Batch* slot = &h.remote[((s.index * 5) ^ (object_ >> 6)) & (REMOTE_SLOTS - 1)]
    cdef Batch batch
    h.counters.remote_frees += 1
    if not batch_add(slot, s, object_):
        batch = slot[0]
        batch_begin(slot, s, object_, class_)
        if batch.span != NULL:
            h.counters.remote_batches += 1
            heap_put(h, &batch)
    h.remote_room -= s.size
    if h.remote_room < 0:
        heap_remote_flush(h)


# ---- giving back

cdef inline void bin_flush(Heap* h, uint32_t class_, int32_t keep) noexcept nogil:
    # Return all but `keep` objects of a bin to their spans: the oldest ones, which lie deepest.
    cdef Bin* b = &h.bins[class_]
    cdef Source* source = &h.sources[class_]
    cdef void** link = &b.head
    cdef void* p
    cdef void* rest
    cdef int32_t i
    for i in range(keep):
        if link[0] == NULL:
            return
        link = <void**>link[0]
    p = link[0]
    link[0] = NULL
    while p != NULL:
        rest = (<void**>p)[0]
        b.room += 1
        heap_free_excess(h, p, class_)
        h.counters.flushed_objects += 1
        p = rest
    if source.excess.span != NULL:
        heap_excess_flush(h, source)


cdef inline void bin_shrink(Heap* h, uint32_t class_, uint16_t max_length) noexcept nogil:
    # Lower a bin's capacity (its content must fit), and give the budget back.
    cdef Bin* b = &h.bins[class_]
    cdef int64_t less = <int64_t>(b.max_length - max_length) * rt_class_size[class_]
    b.room -= b.max_length - max_length
    b.max_length = max_length
    h.granted_bytes -= less
    rt_add_u64(&h.store.cached_bytes, <uint64_t>-less)


cdef inline slow_void heap_flush(Heap* h) noexcept nogil:
    # Give back every object that the heap holds in bins and caches, and look at the mail.
    cdef uint32_t c
    for c in range(1, RT_CLASS_COUNT):
        if h.bins[c].max_length or h.sources[c].excess.span != NULL:
            bin_flush(h, c, 0)
            if h.bins[c].max_length:
                bin_shrink(h, c, 0)
    heap_remote_flush(h)
    heap_mail_read(h, False)
