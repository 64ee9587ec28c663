# Sets of up to 64 things as one word: masks, runs of ones, and their look-up; pure functions.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "base/bitmap.h" nogil:
    uint32_t rt_lowest_bit(uint64_t m) noexcept
    uint32_t rt_highest_bit(uint64_t m) noexcept
    uint32_t rt_count_bits(uint64_t m) noexcept

cdef enum:
    RUN_LEVELS = 7       # runs of at least 1, 2, 4, ... 64
    RUN_NONE = 64        # run_find's "there is none"


cdef inline uint64_t mask_low(uint32_t count) noexcept nogil:
    # The lowest `count` bits, 0 <= count <= 64.
    if count >= 64:
        return ~<uint64_t>0
    return (<uint64_t>1 << count) - 1


cdef inline uint64_t mask_run(uint32_t first, uint32_t count) noexcept nogil:
    # `count` bits from `first` on; first + count <= 64.
    return mask_low(count) << first


cdef inline uint64_t mask_lowest(uint64_t mask, uint32_t count) noexcept nogil:
    # The `count` lowest ones of `mask`, or all of them when there are fewer.
    cdef uint64_t rest = mask
    cdef uint32_t i
    if rt_count_bits(mask) <= count:
        return mask
    for i in range(count):
        rest &= rest - 1
    return mask ^ rest


cdef inline uint64_t mask_groups(uint64_t mask, uint32_t size) noexcept nogil:
    # What of `mask` are whole groups of `size` bits, a power of two up to 64, that begin at its multiples.
    cdef uint32_t step = 1
    while step < size:
        mask &= mask >> step
        step *= 2
    return (mask & (~<uint64_t>0 // mask_low(size))) * mask_low(size)


cdef inline uint64_t run_starts(uint64_t mask, uint32_t count) noexcept nogil:
    # Bit i of the result: bits i .. i+count-1 of `mask` are all ones; 1 <= count <= 64.
    cdef uint32_t have = 1
    cdef uint32_t step
    while have < count and mask:
        step = count - have
        if step > have:
            step = have
        mask &= mask >> step
        have += step
    return mask


cdef inline uint32_t run_find(uint64_t mask, uint32_t count) noexcept nogil:
    # Where the lowest run of at least `count` ones begins, or RUN_NONE.
    cdef uint64_t starts = run_starts(mask, count)
    return rt_lowest_bit(starts) if starts else RUN_NONE


cdef inline uint32_t run_length(uint64_t mask, uint32_t first) noexcept nogil:
    # How many ones follow each other from bit `first` on.
    cdef uint64_t rest = ~(mask >> first)
    cdef uint32_t length
    if not rest:
        return 64
    length = rt_lowest_bit(rest)
    return length if length < 64 - first else 64 - first


cdef inline uint32_t run_level(uint64_t mask) noexcept nogil:
    # How many of the lengths 1, 2, 4, ... 64 have a run in `mask`: 0 for the empty word, 7 for the full one.
    cdef uint32_t level = 0
    while mask:
        if level < 6:
            mask &= mask >> (1 << level)
            level += 1
        else:
            return 7
    return level


cdef inline uint32_t level_of(uint32_t count) noexcept nogil:
    # The level whose runs may hold `count` in a row: floor(log2(count)), 1 <= count <= 64.
    return rt_highest_bit(count)
