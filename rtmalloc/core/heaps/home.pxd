# Objects that go home: to their span's bitmap, in company. A heap keeps some batches, one for each word of a span that it
# frees into, and sends them by one atomic OR each. Frees of other slots' objects come here, and frees that a bin has no
# room for.
#
#     home_room = remote_kib - bytes in the batches, except that what the quick path took since the last tick is not yet in
#     it: at most BEAT_MOST objects of HOME_QUICK bytes, 64 KiB.
from libc.stdint cimport int64_t, uint32_t

from rtmalloc.core.base._options cimport RT_OPTION_remote_kib
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.spans.batch cimport batch_begin, batch_clear, batch_takes
from rtmalloc.core.spans.object cimport object_locate
from rtmalloc.core.spans.shelf cimport shelf_put
from rtmalloc.core.types cimport HOME_BATCHES, Batch, Heap, Span

cdef enum:
    HOME_QUICK = 256           # bytes: a batch of larger objects is not offered to the quick path
    HOME_ALONE = 4096          # bytes: objects so large go home one by one, for a word of them would hold up to 2 MiB


cdef inline void home_send(Heap* h, Batch* batch) noexcept nogil:
    # Send one batch, which is empty afterwards.
    h.counters.home_batches += 1
    h.counters.home_frees += rt_count_bits(batch.mask)
    shelf_put(h.allocator, batch)
    batch_clear(batch)


cdef inline slow_void home_flush(Heap* h) noexcept nogil:
    # Send everything.
    cdef uint32_t i
    for i in range(HOME_BATCHES):
        if h.home[i].span != NULL:
            home_send(h, &h.home[i])
    h.home_room = h.allocator.options.value[RT_OPTION_remote_kib] * 1024


cdef inline void home_tick(Heap* h) noexcept nogil:
    # Work out what the batches hold, and send it if that is too much.
    cdef int64_t room = h.allocator.options.value[RT_OPTION_remote_kib] * 1024
    cdef uint32_t i
    if h.home_room == room:
        # Nothing has been put into them since they were last sent.
        return
    for i in range(HOME_BATCHES):
        if h.home[i].span != NULL:
            room -= <int64_t>rt_count_bits(h.home[i].mask) * h.home[i].size
    h.home_room = room
    if room < 0:
        home_flush(h)


cdef inline bint home_takes(Heap* h, const void* p) noexcept nogil:
    # The quick path: whether the object belongs to the batch that was used last, and is in it now; neighbours are often
    # freed in a row. (True of no pointer for a thread without a heap: its batches are empty.)
    return batch_takes(<Batch*>(<char*>h.home + h.home_last), p)


cdef inline slow_void home_begin(Heap* h, void* p, uint32_t class_) noexcept nogil:
    # An object that the last batch did not take: into the batch of its word, which may have to be sent first.
    cdef uint32_t object_ = 0
    cdef Span* s = object_locate(&h.allocator.arena, p, &object_)
    cdef uint32_t i
    cdef Batch* batch
    if s == NULL:
        complain_of_pointer(b"free", p, b"not the start of a block")
    i = ((s.index * 5) ^ (object_ >> 6)) & (HOME_BATCHES - 1)
    batch = &h.home[i]
    if not batch_takes(batch, p):
        if batch.span != NULL:
            home_send(h, batch)
        batch_begin(batch, s, object_, class_)
    if s.size >= HOME_ALONE:
        home_send(h, batch)
        return
    h.home_last = (i if s.size <= HOME_QUICK else HOME_BATCHES) * sizeof(Batch)
    h.home_room -= s.size
    if h.home_room < 0:
        home_flush(h)


cdef inline void home_free(Heap* h, void* p, uint32_t class_) noexcept nogil:
    # An object of `class_` goes home.
    if not home_takes(h, p):
        home_begin(h, p, class_)
