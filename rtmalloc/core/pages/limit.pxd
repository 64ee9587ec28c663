# How much memory the heap has, and whether the hard limit lets it have more.
# An estimate that costs a few loads: what is in use and what is free and dirty, without pages inside spans that went back.
# Untouched memory counts as if it were resident, so the estimate is never too low by it.
from libc.stdint cimport int64_t, uint64_t

from rtmalloc.core.base._options cimport RT_OPTION_memory_limit_hard
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64
from rtmalloc.core.base.config cimport RT_SLICE_SHIFT
from rtmalloc.core.types cimport Allocator


cdef inline uint64_t limit_resident(Allocator* a) noexcept nogil:
    # Bytes that the heap may have resident now.
    cdef uint64_t slices = rt_load_relaxed_u64(&a.arena.pages.used_slices) + rt_load_relaxed_u64(&a.arena.pages.dirty_slices)
    cdef int64_t away = <int64_t>(
        rt_load_relaxed_u64(&a.purge.spans.bytes) - rt_load_relaxed_u64(&a.returns_wanted) - rt_load_relaxed_u64(&a.limit.ended)
    )
    cdef uint64_t all = (slices << RT_SLICE_SHIFT) + rt_load_relaxed_u64(&a.giants.bytes)
    # (The loads are of different instants.)
    return all - <uint64_t>away if 0 < away < <int64_t>all else all


cdef inline bint limit_refuses(Allocator* a, uint64_t bytes) noexcept nogil:
    # Whether so many bytes more would be beyond the hard limit.
    cdef uint64_t hard = <uint64_t>a.options.value[RT_OPTION_memory_limit_hard]
    return hard != 0 and limit_resident(a) + bytes > hard
