# The epoch: what a heap gives back by itself, of what its bins did not need.
# Without it, bins in balance would keep their content.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from rtmalloc.core.base._options cimport RT_OPTION_epoch_ms, RT_OPTION_idle_epochs, RT_OPTION_low_water
from rtmalloc.core.base.attributes cimport cold_void, slow_void
from rtmalloc.core.base.size_class cimport rt_class_count
from rtmalloc.core.heaps.bin cimport BIN_LEAST, bin_close, bin_flush, bin_length, bin_shrink
from rtmalloc.core.heaps.home cimport home_flush
from rtmalloc.core.types cimport Heap, Source


cdef inline void epoch_bin(Heap* h, uint32_t class_) noexcept nogil:
    # A bin that was refilled was empty in this epoch: its low-water mark is 0 and it keeps all. Otherwise half of what it
    # held all the time goes, and all of it after idle_epochs without a refill.
    cdef const int64_t* option = h.allocator.options.value
    cdef Source* source = &h.sources[class_]
    cdef uint32_t length = bin_length(h, class_)
    cdef uint32_t keep = length
    if source.refills:
        source.refills = 0
        source.idle = 0
    else:
        source.idle += 1
        if option[RT_OPTION_idle_epochs] and source.idle >= option[RT_OPTION_idle_epochs]:
            source.idle = 0
            keep = 0
        elif source.low and option[RT_OPTION_low_water]:
            keep -= (source.low + 1) // 2 if keep > (source.low + 1) // 2 else keep
        bin_flush(h, class_, keep)
        if keep <= source.capacity // 2:
            bin_shrink(h, class_, keep if keep != 1 else BIN_LEAST)
    source.low = <uint16_t>bin_length(h, class_)


cdef inline cold_void epoch_heap(Heap* h, uint64_t now) noexcept nogil:
    # One epoch of one heap; `now` in milliseconds of the monotonic clock.
    cdef uint32_t c
    h.counters.epochs += 1
    h.epoch_at = now + h.allocator.options.value[RT_OPTION_epoch_ms]
    for c in range(1, rt_class_count):
        if h.sources[c].capacity:
            epoch_bin(h, c)
    home_flush(h)


cdef inline slow_void epoch_flush(Heap* h) noexcept nogil:
    # Give back every object that the heap holds in bins and batches.
    cdef uint32_t c
    for c in range(1, rt_class_count):
        bin_close(h, c)
    home_flush(h)
