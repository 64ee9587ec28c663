# A thread's heap: bounded LIFO bins in front of the spans that the thread owns.
#
#     bin.room + objects in the bin = bin.max_length         (room < 0: another bin has taken some of its capacity)
#     granted_bytes = sum over the bins of max_length * size            <= thread_kib
#     granted_bytes = accounted + what others have taken off its account while the thread slept (budget.pxd)
#     cached_bytes  = all heaps' accounted    <= total_kib,    taken_bytes = all heaps' granted_bytes - cached_bytes    <= total_kib
#     an owned span is CURRENT (its class refills from it), PARTIAL (in the class's queue) or FULL (in neither)
#
# Bins, caches and counters are the thread's alone. The spans that it owns, and the lists and queues they are in, are
# under the heap's lock, which the thread takes in its slow paths: so that whoever brings home the last object of a span
# can release it although its owner is asleep. Others only ever *try* that lock.
#
# The heap of a CPU (percpu.pxd, cpu_heap.pxd) has the same parts. Its bins' heads are words with a count in them, `room`
# means nothing, and what is a thread's alone is that of whichever thread has the heap's turn.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_load_relaxed_u64, rt_store_relaxed_u32
from rtmalloc.core.spans.central cimport CLASSES_MOST
from rtmalloc.core.base.lock cimport Lock, lock_drop, lock_take
from rtmalloc.core.spans.object cimport Batch
from rtmalloc.core.base.options cimport RT_OPTION_address_order, RT_OPTION_keep_empty
from rtmalloc.core.heaps.percpu cimport RT_PERCPU_BUILT, word_count
from rtmalloc.core.spans.span cimport (
    SPAN_CURRENT, SPAN_FULL, SPAN_PARTIAL, Span, span_claim_all, span_is_whole, span_is_worth_it,
)
from rtmalloc.core.spans.span_queue cimport span_queue_insert, span_queue_remove
from rtmalloc.core.spans.store cimport Store, store_span_release

cdef enum:
    REMOTE_SLOTS = 16          # words of spans that a sender batches frees for at a time
    BEAT_LEAST = 4             # frees between two ticks. A heap adapts, so that it ticks about as often as the clock moves
    BEAT_MOST = 256            # (4 ms); the most costs a busy thread 0.1 ns a free, and one that slows down to 1 000
                               # calls a second still ticks after a quarter of a second
    BINS_OFFSET = 64           # where bin 0 lies in a Heap; the fast paths add the tag's code to it

cdef struct Bin:
    void* head                 # free objects, linked through their first word
    int32_t room               # how many more it takes
    uint16_t max_length        # 0 until its first refill
    uint8_t refills            # since the last epoch, saturating
    uint8_t idle               # epochs in a row without a refill

cdef struct Source:
    # Where one class's objects come from, and where those go that its bin has no room for.
    Span* current              # under the heap's lock: being refilled from, or NULL
    Span* partial              # under the heap's lock: queue of spans with free objects (span_queue.pxd)
    uint32_t word              # where the scan of `current` stands
    uint16_t low               # fewest objects the bin held when the epoch looked
    uint16_t limit             # most objects that the options let the bin hold; 0 = to be worked out
    bint dry                   # the last refill has left no own span with free objects
    uint32_t overflows         # objects that `excess` has sent home since the bin's last refill
    Batch excess               # freed objects on their way to their span
    void* fence                # the object at which the bin looks empty, for the profile's sake (sample.pxd), or NULL

cdef struct Sampler:
    # Chooses one of every N entries (sample.pxd).
    uint32_t left              # entries until the chosen one, which counts
    uint32_t place             # 0..N-1: which one of its N it is

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
    uint64_t evicted           # spans taken from owners that do not read their mail
    uint64_t mail_takes        # times that it was emptied
    uint64_t ticks             # heartbeats
    uint64_t epochs
    uint64_t flushed_objects   # given back by scavenging

cdef struct Heap:
    # -- the line that every malloc and free reads
    uint32_t tag_base          # own id << 11: tag - tag_base is the bin's offset if the object is ours
    int32_t beat               # frees into bins until the slow path is to look: at the next tick, or at a chosen free
    Store* store
    uint32_t id                # 1..65535
    uint32_t live              # 1 while a thread has it (written under heaps_lock)
    int64_t granted_bytes      # capacity of all bins
    int64_t remote_room        # bytes that the sender's cache may still take; exact after a tick (remote.pxd)
    uint64_t epoch_at          # clock, in ms, of the next epoch
    Heap* pool_next            # while no thread has it: the next such heap
    int32_t beat_length        # BEAT_LEAST..BEAT_MOST
    uint32_t flush_seen        # the store's flush_epoch that this heap has followed
    # -- BINS_OFFSET
    Bin bins[CLASSES_MOST]
    Source sources[CLASSES_MOST]
    uint32_t remote_last       # where in `remote` the batch lies that takes objects without further ado
    Batch remote[REMOTE_SLOTS + 1]  # the sender's cache: objects of spans that are not ours. The last one stays empty
    Span* owned                # all own spans
    Span* sweep                # where the epoch's look at own spans goes on
    uint8_t padding_b[64]
    # -- a line that others write
    Lock lock                  # guards `owned`, `sweep`, the sources' current and partial, and the state of owned spans
    Lock turn                  # of a CPU's heap: whose turn it is to be what a thread is to its own heap (cpu_heap.pxd)
    uint64_t accounted         # bytes of granted_bytes that count towards total_kib (atomic, signed: budget.pxd)
    uint64_t spans_retired     # own spans released when their last object came home, by whomever
    uint64_t ticked_at         # clock, in ms, of the last tick: written by the thread, read by whoever has news for it or
                               # wants its budget
    uint8_t padding_d[48]
    # -- the thread's again
    uint32_t tid               # of the thread that has it (this and the next: under the allocator's heaps_lock)
    uint32_t life              # counts the threads that have had it
    uint32_t steal             # class that gives up bin capacity next
    int32_t beat_rest          # beats until the next tick beyond those that `beat` counts
    uint32_t recording         # of the profile (profile.pxd) that this heap takes part in; 0 = none
    Sampler sample_freed       # among objects that frees put into bins, beyond those that `beat` counts
    Sampler sample_fetched     # among objects that refills put there
    uint64_t sample_seed
    uint64_t asked_at          # epoch_at when it last looked for idle heaps' grants
    uint32_t cpu               # 1 + the CPU whose heap this is, for good; 0 = a thread's
    bint emptied               # of a CPU's heap: nobody had its turn since it was flushed as an idle one
    bint stopped               # of a CPU's heap: no sequence runs on its bins, who has the turn may change them plainly
    bint last_zeroed           # whether the object that the last refill returned is known to be zero
    HeapCounters counters


cdef inline int32_t bin_length(const Heap* h, const Bin* b) noexcept nogil:
    if RT_PERCPU_BUILT and h.cpu:
        return <int32_t>word_count(rt_load_relaxed_u64(<const uint64_t*>&b.head))
    return b.max_length - b.room


cdef inline bint cpu_heap_beats(Heap* h, int32_t beats) noexcept nogil:
    # Of a CPU's heap: count so many towards the next tick; whether it is due. Two threads may lose a count.
    cdef int32_t left = <int32_t>rt_load_relaxed_u32(<uint32_t*>&h.beat) - beats
    rt_store_relaxed_u32(<uint32_t*>&h.beat, <uint32_t>left)
    return left < 0


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


cdef inline bint heap_span_is_kept(Heap* h, Span* s) noexcept nogil:
    # Whether the options keep an own span although it is whole: the only one of its class with free objects.
    cdef Source* source = &h.sources[s.class_]
    if h.store.options.value[RT_OPTION_keep_empty] == 0 or (source.current != NULL and source.current != s):
        return False
    return source.partial == NULL or (source.partial == s and s.child == NULL)


cdef inline bint heap_span_settle(Heap* h, Span* s) noexcept nogil:
    # Under the heap's lock.
    # Bring an own span's state in line with its bitmap: FULL with enough free objects becomes PARTIAL, whole is released:
    # False, and `s` is no span any more.
    # A claim that fails was raced by a page purger or a free; theirs may have been the last object, so look again.
    cdef Source* source = &h.sources[s.class_]
    while span_is_whole(s) and not heap_span_is_kept(h, s):
        if span_claim_all(s):
            if s.state == SPAN_PARTIAL:
                span_queue_remove(&source.partial, s)
            elif s.state == SPAN_CURRENT:
                source.current = NULL
            heap_disown(h, s)
            h.spans_retired += 1
            store_span_release(h.store, s)
            return False
    if s.state == SPAN_FULL and span_is_worth_it(s):
        s.state = SPAN_PARTIAL
        span_queue_insert(&source.partial, s, h.store.options.value[RT_OPTION_address_order] != 0)
    return True


cdef inline void heap_sweep(Heap* h, uint32_t most) noexcept nogil:
    # Look at `most` own spans, going round: finds spans that came to be usable or whole without a hint.
    cdef Span* s
    cdef uint32_t i
    lock_take(&h.lock)
    s = h.sweep
    for i in range(most):
        if s == NULL:
            break
        # Settling may release s; heap_disown then moves the cursor along.
        h.sweep = s
        heap_span_settle(h, s)
        s = s.own_next if h.sweep == s else h.sweep
    h.sweep = s if s != NULL else h.owned
    lock_drop(&h.lock)


