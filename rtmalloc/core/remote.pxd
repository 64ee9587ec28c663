# Objects come home. Whoever frees, to whichever span, ORs a mask of up to 64 objects into one word of its bitmap; only
# the OR that may have made the span usable again, or whole, tells somebody.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.atomics cimport rt_or_u64
from rtmalloc.core.attributes cimport slow_void
from rtmalloc.core.bitmap cimport rt_count_bits
from rtmalloc.core.heap cimport REMOTE_SLOTS, Heap, heap_disown, heap_span_settle
from rtmalloc.core.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.mailbox cimport (
    Mailbox, mailbox_is_neglected, mailbox_next, mailbox_of, mailbox_push, mailbox_take,
)
from rtmalloc.core.object cimport Batch, batch_begin, batch_clear, batch_takes, complain_of_double_free
from rtmalloc.core.options cimport RT_OPTION_remote_kib
from rtmalloc.core.pagemap cimport tag_class, tag_make, tag_now, tag_of_slice, tag_owner
from rtmalloc.core.size_class cimport RT_CLASS_COUNT
from rtmalloc.core.span cimport SPAN_PARTIAL, Span, span_full_mask, span_is_whole
from rtmalloc.core.span_queue cimport span_queue_remove
from rtmalloc.core.store cimport Store, central_abandon, central_event, span_slice


cdef inline bint heap_settle_locked(Heap* h, Span* s) noexcept nogil:
    # Under the lock of `h`: settle the span if its tag (still) names h. False when it does not: look at the tag again.
    cdef uint32_t slice = span_slice(h.store, s)
    if tag_owner(tag_of_slice(&h.store.arena, slice)) != h.id:
        return False
    # The slice may have become the inside of a longer span: then there is nothing to do.
    if s.index == slice:
        heap_span_settle(h, s)
    return True


cdef inline void hint_pass_on(Store* store, Span* s) noexcept nogil:
    # Bring a hint to whoever has the span now, while holding another heap's lock: by mail alone.
    cdef uint32_t tag
    while True:
        tag = tag_now(&store.arena, span_slice(store, s))
        if tag_class(tag) == 0 or tag_class(tag) >= RT_CLASS_COUNT:
            return
        if tag_owner(tag):
            if mailbox_push(mailbox_of(&store.arena, tag_owner(tag)), s):
                return
        elif central_event(store, s, tag_class(tag)):
            return


cdef inline slow_void heap_evict(Store* store, Heap* reader, Heap* h) noexcept nogil:
    # The owner of these spans does not read its mail: it sleeps, and the memory that others free into its spans would be
    # of use to nobody. Those spans become nobody's, to be adopted by whoever needs their class.
    cdef Span* s
    cdef Span* rest
    cdef uint32_t slice
    if not lock_try(&h.lock):
        return
    s = mailbox_take(mailbox_of(&store.arena, h.id), False)
    while s != NULL:
        rest = mailbox_next(s)
        slice = span_slice(store, s)
        if tag_owner(tag_now(&store.arena, slice)) != h.id:
            hint_pass_on(store, s)
        elif s.index == slice and heap_span_settle(h, s) and s.state == SPAN_PARTIAL:
            span_queue_remove(&h.sources[s.class_].partial, s)
            heap_disown(h, s)
            central_abandon(store, s)
            if reader != NULL:
                reader.counters.evicted += 1
        s = rest
    lock_drop(&h.lock)


cdef inline slow_void span_event(Store* store, Heap* self, Span* s, uint32_t class_) noexcept nogil:
    # A span has become usable or whole: whoever looks after it settles it, or is told. `self` is the caller's heap or
    # NULL. We hold nothing of the span any more, so it may be gone or be another one: all is looked at again under the
    # lock that guards it. Only a changed tag is a reason to look again, so this ends.
    cdef uint32_t slice = span_slice(store, s)
    cdef uint32_t tag, owner
    cdef Heap* h
    cdef Mailbox* box
    cdef bint settled
    while True:
        tag = tag_now(&store.arena, slice)
        owner = tag_owner(tag)
        if owner == 0:
            if tag != tag_make(0, class_) or central_event(store, s, class_):
                return
            continue
        h = <Heap*>store.heaps[owner]
        if h == self:
            lock_take(&h.lock)
        elif not span_is_whole(s) or not lock_try(&h.lock):
            # Usable again is news for the owner alone. Whole concerns everybody, but the owner is at work just now.
            box = mailbox_of(&store.arena, owner)
            if mailbox_push(box, s):
                if mailbox_is_neglected(box):
                    heap_evict(store, self, h)
                return
            # Closed: that heap has just given up all its spans, so the tag has changed.
            continue
        settled = heap_settle_locked(h, s)
        lock_drop(&h.lock)
        if settled:
            return


cdef inline void span_put(Store* store, Heap* self, const Batch* batch) noexcept nogil:
    # Return a batch to its span.
    cdef Span* s = batch.span
    # Read before the OR: until then we hold an object, and the span is what we think it is.
    cdef uint64_t full = span_full_mask(s, batch.word)
    cdef uint32_t worth = s.worth
    cdef uint64_t before = rt_or_u64(&s.bits[batch.word], batch.mask)
    cdef uint64_t now = before | batch.mask
    if before & batch.mask:
        complain_of_double_free(s, batch.word, before & batch.mask)
    if now == full or (rt_count_bits(before) < worth and rt_count_bits(now) >= worth):
        span_event(store, self, s, batch.class_)


cdef inline slow_void mail_read(Store* store, Heap* reader, uint32_t heap_id, bint close) noexcept nogil:
    # Look at the spans that a heap's mailbox names. Anybody may read anybody's mail: a span that is no longer that heap's
    # is passed on to whoever has it now.
    cdef Span* s = mailbox_take(mailbox_of(&store.arena, heap_id), close)
    cdef Span* rest
    cdef uint32_t class_
    if reader != NULL:
        reader.counters.mail_takes += 1
    while s != NULL:
        rest = mailbox_next(s)
        if reader != NULL:
            reader.counters.mail_spans += 1
        class_ = tag_class(tag_of_slice(&store.arena, span_slice(store, s)))
        if class_ != 0 and class_ < RT_CLASS_COUNT:
            span_event(store, reader, s, class_)
        s = rest


# ---- the sender's cache

cdef inline slow_void heap_remote_flush(Heap* h) noexcept nogil:
    # Send everything that the sender's cache holds.
    cdef Batch batch
    cdef uint32_t i
    for i in range(REMOTE_SLOTS):
        if h.remote[i].span != NULL:
            batch = h.remote[i]
            batch_clear(&h.remote[i])
            h.counters.remote_batches += 1
            span_put(h.store, h, &batch)
    h.remote_room = h.store.options.value[RT_OPTION_remote_kib] * 1024


cdef inline void heap_note_remote(Heap* h, uint32_t size) noexcept nogil:
    # The sender's cache has taken an object.
    h.counters.remote_frees += 1
    h.remote_room -= size
    if h.remote_room < 0:
        heap_remote_flush(h)


cdef inline bint heap_takes_remote(Heap* h, const void* p) noexcept nogil:
    # Whether the object belongs to the batch that was used last, and is in it now: neighbours are often freed in a row.
    # (True of no pointer for a thread without a heap: its batches are empty.)
    cdef Batch* last = &h.remote[h.remote_last]
    if not batch_takes(last, p):
        return False
    heap_note_remote(h, last.size)
    return True


cdef inline void heap_free_remote(Heap* h, void* p, Span* s, uint32_t object_, uint32_t class_) noexcept nogil:
    # An object of somebody else's span: group it with others of the same 64, then send them with one atomic step.
    cdef uint32_t slot = ((s.index * 5) ^ (object_ >> 6)) & (REMOTE_SLOTS - 1)
    cdef uint32_t size = s.size
    cdef Batch batch
    h.remote_last = slot
    if not batch_takes(&h.remote[slot], p):
        batch = h.remote[slot]
        batch_begin(&h.remote[slot], s, object_, class_)
        if batch.span != NULL:
            h.counters.remote_batches += 1
            span_put(h.store, h, &batch)
    heap_note_remote(h, size)
