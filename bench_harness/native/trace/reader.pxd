"""A trace as a cell sees it: the header, and each thread's segments in their order, in pages of the cell's own."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp
from bench_harness.native.cell cimport Cell, cell_pages
from bench_harness.native.params cimport EXIT_USAGE
from bench_harness.native.system cimport _exit, dprintf, map_pages, unmap_pages
from bench_harness.native.trace.format cimport TRACE_MAGIC, TraceHeader, TraceSegment, TraceThread

cdef extern from "bench_harness/native/trace/files.h" nogil:
    int file_open(const char*)
    bint file_read_at(int, void*, size_t, uint64_t)
    long file_bytes(int)


cdef struct Trace:
    int fd
    const char* path
    TraceHeader head
    TraceThread* thread     # lines of the threads
    TraceSegment* segment   # sorted by thread, each thread's in the order of their slices
    uint64_t* first         # by thread: its first segment; one entry more, so that first[t + 1] ends thread t
    long* pending           # by slice: segments that are not yet played


cdef inline void trace_refuse(const char* path, const char* why) noexcept nogil:
    """End the cell with status 2 and a sentence."""
    dprintf(2, "%s: %s\n", path, why)
    _exit(EXIT_USAGE)


cdef inline void trace_head(Trace* t, const char* path) noexcept nogil:
    """Open a trace and read its header; a file that is none, or was cut, ends the cell."""
    t.path = path
    t.fd = file_open(path)
    if t.fd < 0:
        trace_refuse(path, b"cannot be read")
    if not file_read_at(t.fd, &t.head, sizeof(TraceHeader), 0) or memcmp(t.head.magic, TRACE_MAGIC, 8) != 0:
        trace_refuse(path, b"is not a trace of this harness's version")
    if file_bytes(t.fd) != <long>t.head.bytes:
        trace_refuse(path, b"is not whole: it has another length than its header says")


cdef inline void trace_index(Trace* t, Cell* cell) noexcept nogil:
    """Read threads and segments, and sort the segments by thread."""
    cdef TraceHeader* h = &t.head
    cdef size_t bytes = h.segments * sizeof(TraceSegment)
    cdef TraceSegment* given = <TraceSegment*>map_pages(bytes)
    cdef uint64_t i
    t.thread = <TraceThread*>cell_pages(cell, h.threads * sizeof(TraceThread))
    t.segment = <TraceSegment*>cell_pages(cell, bytes)
    t.first = <uint64_t*>cell_pages(cell, (h.threads + 2) * sizeof(uint64_t))
    t.pending = <long*>cell_pages(cell, (h.slices + 1) * sizeof(long))
    if (given == NULL or not file_read_at(t.fd, given, bytes, h.index_at)
            or not file_read_at(t.fd, t.thread, h.threads * sizeof(TraceThread), h.threads_at)):
        trace_refuse(t.path, b"its index cannot be read")
    for i in range(h.segments):
        if given[i].thread >= h.threads or given[i].slice >= h.slices or given[i].at + given[i].bytes > h.index_at:
            trace_refuse(t.path, b"its index contradicts its header")
        t.first[given[i].thread + 2] += 1
        t.pending[given[i].slice] += 1
    for i in range(h.threads):
        t.first[i + 2] += t.first[i + 1]
    for i in range(h.segments):     # first[t + 1] walks from the begin of thread t to its end
        t.segment[t.first[given[i].thread + 1]] = given[i]
        t.first[given[i].thread + 1] += 1
    unmap_pages(given, bytes)
