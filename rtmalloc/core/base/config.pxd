# What is fixed when the library is compiled: config.h has the reasons.

cdef extern from "base/config.h" nogil:
    enum:
        RT_SLICE_SHIFT
        RT_SLICE_BYTES
        RT_SLICE_WORDS
        RT_HEADER_SLICES
        RT_SEGMENT_SHIFT
        RT_HUGE_SHIFT
        RT_GROUP_SEGMENTS
        RT_GROUP_BYTES
        RT_ADDRESS_BITS
        RT_LOOKUP
        RT_LOOKUP_TAG
        RT_LOOKUP_HEADER
        RT_LOOKUP_FLAT
        RT_LOOKUP_RADIX
        RT_STATE_TEST
        RT_CHECK
    const size_t RT_SEGMENT_BYTES
