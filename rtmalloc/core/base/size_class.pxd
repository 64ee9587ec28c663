# From a number of bytes to the small size class and its bin.
# The table is generated from rtmalloc.toml by rtmalloc/size_table.py, or read when the process starts (table_file.pxd);
# size_table.h holds it. It does not change after the allocator is open.
from libc.stdint cimport uint16_t, uint32_t, uint8_t

from rtmalloc.core.base.config cimport RT_SLICE_BYTES

cdef extern from "base/config.h" nogil:
    enum:
        RT_MAX_SMALL            # bytes of the largest class that there may be
    ctypedef struct rt_size_table_data:
        pass
    uint32_t rt_class_size[]
    uint8_t rt_class_slices[]
    uint16_t rt_bin_offset[]
    uint32_t rt_class_count     # of this table, with class 0
    uint32_t rt_class_largest   # bytes


cdef inline uint32_t class_bin_offset(size_t bytes) noexcept nogil:
    # Byte offset of the bin that serves `bytes` <= RT_MAX_SMALL; 0 bytes count as 1. Above this table's largest class it is
    # that of bin 0, which is always empty.
    return rt_bin_offset[(bytes + 15) >> 4]


cdef inline uint32_t class_of_size(size_t bytes) noexcept nogil:
    # The class that serves `bytes` <= RT_MAX_SMALL; 0 above this table's largest.
    return rt_bin_offset[(bytes + 15) >> 4] // 16


cdef inline uint32_t class_of_aligned(size_t bytes, size_t alignment) noexcept nogil:
    # The smallest class for `bytes` whose objects all lie at multiples of `alignment` (a power of two); 0 when none
    # does. Object k of a span lies at k * size from a slice boundary.
    cdef uint32_t c
    if bytes > rt_class_largest or alignment > RT_SLICE_BYTES:
        return 0
    c = class_of_size(bytes)
    while c < rt_class_count and rt_class_size[c] & (alignment - 1):
        c += 1
    return c if c < rt_class_count else 0
