# What belongs to no heap in particular and is due once per epoch: one of the ticking threads does it.
from libc.stdint cimport uint64_t

from rtmalloc.core.base._options cimport RT_OPTION_epoch_ms
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64, rt_swap_if_u64
from rtmalloc.core.base.attributes cimport cold_int
from rtmalloc.core.heaps.heap_pool cimport heaps_count_awake
from rtmalloc.core.spans.transfer_cache cimport transfer_drain
from rtmalloc.core.types cimport Allocator


cdef inline cold_int shared_epoch(Allocator* a, uint64_t now) noexcept nogil:
    # Empty spans that were not needed go to the page heap, and heaps at work are counted. Whether it was this call.
    cdef uint64_t due = rt_load_relaxed_u64(&a.epoch_at)
    if now < due or not rt_swap_if_u64(&a.epoch_at, &due, now + <uint64_t>a.options.value[RT_OPTION_epoch_ms]):
        return 0
    transfer_drain(&a.transfer, &a.arena.pages, False)
    heaps_count_awake(a, now)
    return 1
