# Objects come home. Whoever frees, to whichever span, ORs a mask of up to 64 objects into one word of its bitmap; only
# the OR that may have made the span usable again, or whole, tells somebody.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u32, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_or_u64, rt_store_relaxed_u32,
)
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.heaps.heap cimport REMOTE_SLOTS, Heap, heap_disown, heap_span_settle
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.spans.mailbox cimport (
    Mailbox, mailbox_has_mail, mailbox_is_neglected, mailbox_next, mailbox_of, mailbox_push, mailbox_take,
)
from rtmalloc.core.spans.object cimport Batch, batch_begin, batch_clear, batch_takes, complain_of_double_free
from rtmalloc.core.base.options cimport RT_OPTION_mailbox, RT_OPTION_remote_kib
from rtmalloc.core.pages.pagemap cimport tag_class, tag_make, tag_now, tag_of_slice, tag_owner
from rtmalloc.core.base.size_class cimport rt_class_count
from rtmalloc.core.spans.span cimport SPAN_PARTIAL, Span, span_full_mask, span_is_whole
from rtmalloc.core.spans.span_queue cimport span_queue_remove
from rtmalloc.core.spans.store cimport Store, central_abandon, central_event, span_slice


cdef enum:
    AWAKE_MS = 8               # an owner that ticked so recently will soon look for itself


cdef inline bint heap_is_awake(const Heap* h, const Heap* self) noexcept nogil:
    # Whether the owner of something is at work, as far as the caller's own last look at the clock can tell. A hint: it
    # decides who does the work, not whether it is done. One who is at work has use for its spans, and has them in its
    # cache; doing it from here costs both sides a dozen cache misses a span.
    return self != NULL and rt_load_relaxed_u64(&h.ticked_at) + AWAKE_MS >= self.ticked_at


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
        if tag_class(tag) == 0 or tag_class(tag) >= rt_class_count:
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
        elif heap_is_awake(h, self) or not span_is_whole(s) or not lock_try(&h.lock):
            # Usable again is news for the owner alone. Whole concerns everybody, unless the owner is at work just now.
            if store.options.value[RT_OPTION_mailbox] == 0:
                # A hint may be lost: the owner looks at its spans by itself.
                return
            box = mailbox_of(&store.arena, owner)
            if mailbox_push(box, s):
                if mailbox_is_neglected(box) and not heap_is_awake(h, self):
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
        if class_ != 0 and class_ < rt_class_count:
            span_event(store, reader, s, class_)
        s = rest


cdef inline void store_read_mail(Store* store, Heap* reader, uint32_t most) noexcept nogil:
    # Read the mail of at most so many heaps, going round: an owner that sleeps does not read its own. The caller may hold
    # the reader's lock.
    cdef uint32_t count = rt_load_acquire_u32(&store.heap_count)
    cdef uint32_t id = rt_load_relaxed_u32(&store.mail_cursor)
    cdef uint32_t i
    for i in range(count if count < most else most):
        id = id + 1 if id < count else 1
        if (reader == NULL or id != reader.id) and mailbox_has_mail(mailbox_of(&store.arena, id)):
            heap_evict(store, reader, <Heap*>store.heaps[id])
    rt_store_relaxed_u32(&store.mail_cursor, id)


# ---- the sender's cache
#
# remote_room = remote_kib - bytes in the cache, except that what the quick path took since the last tick is not yet in it:
# at most BEAT_MOST objects of REMOTE_QUICK bytes, 64 KiB.

cdef enum:
    REMOTE_QUICK = 256         # bytes: a batch of larger objects is not offered to the quick path


cdef inline void heap_remote_send(Heap* h, Batch* slot) noexcept nogil:
    # Send what one slot holds; empty it first, because whoever is told of it may come back to us.
    cdef Batch batch = slot[0]
    batch_clear(slot)
    h.counters.remote_batches += 1
    h.counters.remote_frees += rt_count_bits(batch.mask)
    span_put(h.store, h, &batch)


cdef inline slow_void heap_remote_flush(Heap* h) noexcept nogil:
    # Send everything that the sender's cache holds.
    cdef uint32_t i
    for i in range(REMOTE_SLOTS):
        if h.remote[i].span != NULL:
            heap_remote_send(h, &h.remote[i])
    h.remote_room = h.store.options.value[RT_OPTION_remote_kib] * 1024


cdef inline void heap_remote_tick(Heap* h) noexcept nogil:
    # Work out what the sender's cache holds, and send it if that is too much.
    cdef int64_t room = h.store.options.value[RT_OPTION_remote_kib] * 1024
    cdef uint32_t i
    if h.remote_room == room:
        # Nothing has been put into the cache since it was last sent.
        return
    for i in range(REMOTE_SLOTS):
        if h.remote[i].span != NULL:
            room -= <int64_t>rt_count_bits(h.remote[i].mask) * h.remote[i].size
    h.remote_room = room
    if room < 0:
        heap_remote_flush(h)


cdef inline bint heap_takes_remote(Heap* h, const void* p) noexcept nogil:
    # The quick path: whether the object belongs to the batch that was used last, and is in it now; neighbours are often
    # freed in a row. (True of no pointer for a thread without a heap: its batches are empty.)
    return batch_takes(<Batch*>(<char*>h.remote + h.remote_last), p)


cdef inline void heap_free_remote(Heap* h, void* p, Span* s, uint32_t object_, uint32_t class_) noexcept nogil:
    # An object of somebody else's span: group it with others of the same 64, then send them with one atomic step.
    cdef uint32_t slot = ((s.index * 5) ^ (object_ >> 6)) & (REMOTE_SLOTS - 1)
    cdef uint32_t size = s.size
    if not batch_takes(&h.remote[slot], p):
        if h.remote[slot].span != NULL:
            heap_remote_send(h, &h.remote[slot])
        batch_begin(&h.remote[slot], s, object_, class_)
    h.remote_last = (slot if size <= REMOTE_QUICK else REMOTE_SLOTS) * sizeof(Batch)
    h.remote_room -= size
    if h.remote_room < 0:
        heap_remote_flush(h)
