"""Declarations of the recorder's files (raw.h) and of traces (trace.h), which say what everything means."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "bench_harness/native/raw.h" nogil:
    const char* RAW_MAGIC
    enum:
        RAW_HEADER, RAW_CHUNK, RAW_EVENTS, RAW_THREAD_BITS, RAW_SIZE_BITS, RAW_LARGE
        RAW_MALLOC, RAW_CALLOC, RAW_ALIGNED, RAW_FREE, RAW_RESIZE, RAW_RESIZED, RAW_RESIZE_FAILED, RAW_TOUCHED
        RAW_THREAD_END
    ctypedef struct RawEvent:
        uint64_t order, moment, address, size
    ctypedef struct RawHeader:
        char[8] magic
        int64_t pid, parent
        uint64_t page, began, events, chunks, threads, lost, ended, inherited

cdef extern from "bench_harness/native/trace/trace.h" nogil:
    const char* TRACE_MAGIC
    enum:
        TRACE_PAGE, TRACE_OP_MOST, TRACE_TIME_US
        OP_MALLOC, OP_CALLOC, OP_ALIGNED, OP_FREE, OP_REALLOC, OP_TIME
        OP_KIND, OP_SHARED, OP_NEW_SHARED, OP_TOUCHED
    ctypedef struct TraceHeader:
        char[8] magic
        uint64_t bytes, events
        uint64_t[5] kind
        uint64_t threads, slices, slice_events, segments, index_at, threads_at, info_at, info_bytes, shared_slots
        uint64_t microseconds, peak_bytes, peak_blocks, end_bytes, end_blocks
        uint64_t handed, inherited, unknown, unfreed, lost, longest
    ctypedef struct TraceSegment:
        uint64_t at, microseconds
        uint32_t bytes, events, slice, thread
    ctypedef struct TraceThread:
        uint32_t slots, ends


cdef inline unsigned char* put_number(unsigned char* at, uint64_t value) noexcept nogil:
    """Write a LEB128 number: seven bits a byte, the lowest first; the top bit says that more follow."""
    while value >= 128:
        at[0] = <unsigned char>(value | 128)
        at += 1
        value >>= 7
    at[0] = <unsigned char>value
    return at + 1


cdef inline uint64_t get_number(const unsigned char** at) noexcept nogil:
    """Read a LEB128 number and move on behind it."""
    cdef uint64_t value = at[0][0]
    cdef int shift = 7
    at[0] += 1
    if value < 128:
        return value
    value &= 127
    while True:
        value |= <uint64_t>(at[0][0] & 127) << shift
        at[0] += 1
        if at[0][-1] < 128 or shift > 56:
            return value
        shift += 7
