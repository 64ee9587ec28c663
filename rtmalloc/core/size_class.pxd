# Small size classes. The table is generated from rtmalloc.toml by rtmalloc/size_table.py.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "config.h" nogil:
    enum:
        RT_CLASS_COUNT          # small classes, and class 0 for "none"
        RT_MAX_SMALL            # bytes of the largest
        RT_SLICE_BYTES
    const uint32_t rt_class_size[]
    const uint8_t rt_class_slices[]
    const uint16_t rt_bin_offset[]


cdef inline uint32_t class_bin_offset(size_t bytes) noexcept nogil:
    # Byte offset of the bin that serves `bytes` <= RT_MAX_SMALL; 0 bytes count as 1.
    return rt_bin_offset[(bytes + 15) >> 4]


cdef inline uint32_t class_of_size(size_t bytes) noexcept nogil:
    return rt_bin_offset[(bytes + 15) >> 4] // 16


cdef inline uint32_t class_of_aligned(size_t bytes, size_t alignment) noexcept nogil:
    # The smallest class for `bytes` whose objects all lie at multiples of `alignment` (a power of two); 0 when none
    # does. Object k of a span lies at k * size from a slice boundary.
    cdef uint32_t c
    if bytes > RT_MAX_SMALL or alignment > RT_SLICE_BYTES:
        return 0
    c = class_of_size(bytes)
    while c < RT_CLASS_COUNT and rt_class_size[c] & (alignment - 1):
        c += 1
    return c if c < RT_CLASS_COUNT else 0
