# What a heap gives back by itself: once per epoch it looks at what its bins did not need, at its sender's cache and at
# some of its own spans. Without this, bins in balance would keep their content, and a span whose last objects lie in its
# owner's own bin would never be seen to be empty.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64, rt_swap_if_u64
from rtmalloc.core.base.attributes cimport cold_int, cold_void
from rtmalloc.core.heaps.heap cimport Bin, Heap, Source, bin_length, heap_sweep
from rtmalloc.core.spans.mailbox cimport mailbox_has_mail, mailbox_of
from rtmalloc.core.base.options cimport RT_OPTION_epoch_ms, RT_OPTION_idle_epochs, RT_OPTION_low_water
from rtmalloc.core.heaps.refill cimport bin_flush, bin_resize, heap_excess_flush
from rtmalloc.core.heaps.remote cimport heap_remote_flush, mail_read, store_read_mail
from rtmalloc.core.base.size_class cimport rt_class_count
from rtmalloc.core.spans.store cimport Store
from rtmalloc.core.spans.transfer_cache cimport transfer_drain

cdef enum:
    MAIL_HEAPS = 64            # mailboxes looked at per epoch
    SWEEP_SPANS = 64           # own spans looked at per epoch: bounds the pause to a few microseconds


cdef inline void bin_epoch(Heap* h, uint32_t class_) noexcept nogil:
    # A bin that was refilled was empty in this epoch: its low-water mark is 0 and it keeps all. Otherwise half of what it
    # held all the time goes, and all of it after idle_epochs without a refill.
    cdef Bin* b = &h.bins[class_]
    cdef Source* source = &h.sources[class_]
    cdef int32_t length = bin_length(h, b)
    cdef int32_t keep = length
    source.limit = 0
    if length > b.max_length:
        keep = b.max_length
    if b.refills:
        b.refills = 0
        b.idle = 0
    else:
        b.idle += 1
        if h.store.options.value[RT_OPTION_idle_epochs] and b.idle >= h.store.options.value[RT_OPTION_idle_epochs]:
            b.idle = 0
            keep = 0
        elif source.low and h.store.options.value[RT_OPTION_low_water]:
            keep -= (source.low + 1) // 2
            if keep < 0:
                keep = 0
        if keep <= b.max_length // 2:
            bin_resize(h, class_, keep - b.max_length)
    if keep < length:
        bin_flush(h, class_, keep)
    source.low = <uint16_t>keep


cdef inline cold_void heap_epoch(Heap* h, uint64_t now) noexcept nogil:
    # One epoch of one heap; `now` in milliseconds of the monotonic clock.
    cdef uint32_t c
    h.counters.epochs += 1
    h.epoch_at = now + h.store.options.value[RT_OPTION_epoch_ms]
    for c in range(1, rt_class_count):
        if h.sources[c].excess.span != NULL:
            heap_excess_flush(h, &h.sources[c])
        if h.bins[c].max_length or h.bins[c].head != NULL:
            bin_epoch(h, c)
    heap_remote_flush(h)
    if mailbox_has_mail(mailbox_of(&h.store.arena, h.id)):
        mail_read(h.store, h, h.id, False)
    heap_sweep(h, SWEEP_SPANS)


cdef inline cold_int store_epoch(Store* store, Heap* self, uint64_t now) noexcept nogil:
    # What belongs to nobody in particular: one of the ticking threads does it, once per epoch. Whether it was this one.
    cdef uint64_t due = rt_load_relaxed_u64(&store.epoch_at)
    if now < due or not rt_swap_if_u64(&store.epoch_at, &due, now + store.options.value[RT_OPTION_epoch_ms]):
        return 0
    transfer_drain(&store.transfer, &store.arena.pages, False)
    store_read_mail(store, self, MAIL_HEAPS)
    return 1
