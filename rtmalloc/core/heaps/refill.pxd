# Refills: from a shelf into an empty bin.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_compiler_barrier
from rtmalloc.core.base.attributes cimport slow_pointer
from rtmalloc.core.base.bitmap cimport rt_count_bits, rt_highest_bit, rt_lowest_bit
from rtmalloc.core.heaps.beat cimport beat_frees
from rtmalloc.core.heaps.bin cimport bin_grow, bin_wants_more
from rtmalloc.core.heaps.sample cimport sample_fetched
from rtmalloc.core.spans.shelf cimport Draw, shelf_draw_begin
from rtmalloc.core.spans.slot cimport slot_draw
from rtmalloc.core.types cimport Bin, Heap, Run, Slot, Source


cdef inline void refill_unpack(void** top, const Run* run, uint64_t mask) noexcept nogil:
    # The objects of `mask` below and including *top, the lowest address on top. No object is touched.
    cdef size_t size = run.size
    cdef char* object_ = run.first + rt_lowest_bit(mask) * size
    cdef char* end
    if mask & (mask + (mask & -mask)) == 0:
        # One run, as in fresh or wholly returned words.
        end = run.first + rt_highest_bit(mask) * size
        while object_ <= end:
            top[0] = object_
            top -= 1
            object_ += size
        return
    while mask:
        top[0] = run.first + rt_lowest_bit(mask) * size
        top -= 1
        mask &= mask - 1


cdef inline void* refill_fill(Heap* h, uint32_t class_, Draw* d) noexcept nogil:
    # Put what was drawn into the empty bin, but for the first object, which is returned.
    cdef Bin* b = &h.bins[class_]
    cdef uint64_t mask = d.run[0].mask
    cdef void* first = d.run[0].first + rt_lowest_bit(mask) * <size_t>d.run[0].size
    cdef void** top = b.top + (d.got - 1)
    cdef void** newest = top
    cdef uint32_t i
    mask &= mask - 1
    for i in range(d.runs):
        if i:
            mask = d.run[i].mask
        if mask:
            refill_unpack(top, &d.run[i], mask)
            top -= rt_count_bits(mask)
    # Last: a fork's child looks at what lies below the top.
    rt_compiler_barrier()
    b.top = newest
    return first


cdef inline uint32_t refill_count(Heap* h, uint32_t class_, uint32_t most) noexcept nogil:
    # How many objects a refill fetches: half of what the bin may hold, so that frees find room.
    cdef uint32_t wanted = (<uint32_t>h.sources[class_].capacity + 1) // 2
    if wanted > most:
        wanted = most
    return wanted if wanted else 1


cdef inline Slot* refill_draw(Heap* h, uint32_t class_, uint32_t most, Draw* d) noexcept nogil:
    # Draw what a refill fetches, at most `most` objects; d.got is 0 when there is no memory. The slot that served.
    cdef Source* source = &h.sources[class_]
    cdef Slot* slot
    if source.refills < 255:
        source.refills += 1
    source.overflows = 0
    shelf_draw_begin(d, refill_count(h, class_, most))
    slot = slot_draw(h.allocator, h.slot, class_, d)
    if d.got:
        h.counters.refills += 1
        h.counters.refill_objects += d.got
        h.inside -= <int64_t>d.got * d.run[0].size
    return slot


cdef inline slow_pointer refill_bin(Heap* h, uint32_t class_, size_t bytes, uint32_t most) noexcept nogil:
    # Fill the empty bin of a class and return one object more; NULL when there is no memory. `most` bounds the number of
    # objects (calloc asks for single ones, to know whether they are zero); `bytes` is what was asked for.
    cdef Slot* slot
    cdef Draw d
    cdef void* first
    if bin_wants_more(h, class_):
        bin_grow(h, class_)
    h.freed_before = beat_frees(h)
    slot = refill_draw(h, class_, most, &d)
    if slot != h.slot:
        h.slot = slot
        h.tag_base = slot.tag_base
        h.counters.slot_changes += 1
    if d.got == 0:
        return NULL
    h.fetched_before = d.got
    h.last_zeroed = d.zeroed
    first = refill_fill(h, class_, &d)
    return sample_fetched(h, class_, bytes, first, d.got) if h.recording else first
