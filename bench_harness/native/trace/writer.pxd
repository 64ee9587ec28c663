"""Writes a story as a trace: operations of each thread, cut into slices of all threads' order."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen
from bench_harness.native.system cimport dprintf, map_pages, unmap_pages
from bench_harness.native.trace.format cimport (
    OP_ALIGNED, OP_CALLOC, OP_FREE, OP_MALLOC, OP_NEW_SHARED, OP_REALLOC, OP_SHARED, OP_TIME, OP_TOUCHED, RAW_ALIGNED,
    RAW_CALLOC, RAW_FREE, RAW_RESIZE, RAW_RESIZED, RAW_RESIZE_FAILED, RAW_SIZE_BITS, RAW_THREAD_END, TRACE_MAGIC,
    TRACE_OP_MOST, TRACE_TIME_US, RawEvent, TraceHeader, TraceSegment, TraceThread, put_number)
from bench_harness.native.trace.slotting cimport (
    Freed, own_slot, own_slot_free, shared_slot, shared_slot_free)
from bench_harness.native.trace.story cimport (
    NO_BLOCK, SHARED, TOUCHED_ALL, Story, event_bytes, event_makes_block, event_op, event_thread, story_event)

cdef extern from "bench_harness/native/trace/files.h" nogil:
    int file_create(const char*)
    bint file_write_all(int, const void*, size_t)
    bint file_write_at(int, const void*, size_t, uint64_t)

cdef enum:
    NO_THREAD = 0xFFFFFFFF
    INDEX_FIRST = 4096      # segments of a new index


cdef struct Thread:
    uint32_t number         # in the trace; NO_THREAD before its first operation
    TraceThread line
    Freed freed             # own slots
    unsigned char* data     # the segment under way
    uint64_t used
    uint64_t room
    uint64_t first_us       # when it began
    uint64_t last_us        # of its last moment that was written
    uint32_t events


cdef struct Writer:
    const Story* story
    int fd
    uint64_t at             # bytes written
    TraceHeader head
    Thread* thread          # by the recorder's number
    uint32_t* raw_number    # of the trace's threads
    TraceSegment* segment
    uint64_t segment_room
    Freed freed             # shared slots
    uint64_t slice
    uint64_t bytes          # live now
    uint64_t blocks
    uint64_t first_ns       # of all events, once one was seen
    bint begun
    bint failed             # no memory, or a file that cannot be written


cdef inline bint writer_open(Writer* w, const Story* s, const char* path, uint64_t slice_events) noexcept nogil:
    """Begin a trace; False, with a line on stderr, when that is not possible."""
    cdef uint64_t i
    memset(w, 0, sizeof(Writer))
    w.story = s
    w.fd = file_create(path)
    w.head.slice_events = slice_events
    w.thread = <Thread*>map_pages((s.header.threads + 1) * sizeof(Thread))
    w.raw_number = <uint32_t*>map_pages((s.header.threads + 1) * sizeof(uint32_t))
    w.at = sizeof(TraceHeader)
    if w.fd < 0 or w.thread == NULL or w.raw_number == NULL or not file_write_all(w.fd, &w.head, sizeof(TraceHeader)):
        dprintf(2, "%s: cannot be written\n", path)
        return False
    for i in range(s.header.threads + 1):
        w.thread[i].number = <uint32_t>NO_THREAD
    return True


cdef inline void segment_add(Writer* w, Thread* t) noexcept nogil:
    """Write a thread's segment of this slice, and its line of the index."""
    cdef TraceSegment* wider
    cdef TraceSegment* line
    cdef uint64_t room = w.segment_room * 2 if w.segment_room > 0 else INDEX_FIRST
    if w.head.segments == w.segment_room:
        wider = <TraceSegment*>map_pages(room * sizeof(TraceSegment))
        if wider == NULL:
            w.failed = True
            return
        if w.segment_room > 0:
            memcpy(wider, w.segment, w.segment_room * sizeof(TraceSegment))
            unmap_pages(w.segment, w.segment_room * sizeof(TraceSegment))
        w.segment, w.segment_room = wider, room
    line = &w.segment[w.head.segments]
    line.at, line.bytes, line.events = w.at, <uint32_t>t.used, t.events
    line.slice, line.thread, line.microseconds = <uint32_t>w.slice, t.number, t.first_us
    w.head.segments += 1
    w.head.longest = t.used if t.used > w.head.longest else w.head.longest
    w.failed |= not file_write_all(w.fd, t.data, t.used)
    w.at += t.used
    t.used = t.events = 0


cdef inline void slice_end(Writer* w) noexcept nogil:
    """Write what every thread did in this slice."""
    cdef uint64_t i
    for i in range(w.head.threads):
        if w.thread[w.raw_number[i]].events > 0:
            segment_add(w, &w.thread[w.raw_number[i]])
    w.slice += 1


cdef inline Thread* thread_begin(Writer* w, const RawEvent* e) noexcept nogil:
    """The event's thread, with room for an operation; its moment is written when that is due."""
    cdef Thread* t = &w.thread[event_thread(e)]
    cdef uint64_t us = (e.moment >> 8) // 1000, room = t.room * 2 if t.room > 0 else 1 << 16
    cdef unsigned char* wider
    cdef unsigned char* end
    if t.number == <uint32_t>NO_THREAD:
        t.number = <uint32_t>w.head.threads
        w.raw_number[t.number] = event_thread(e)
        w.head.threads += 1
    if t.used + 2 * TRACE_OP_MOST > t.room:
        wider = <unsigned char*>map_pages(room)
        if wider == NULL:
            w.failed = True
            return NULL
        if t.room > 0:
            memcpy(wider, t.data, t.used)
            unmap_pages(t.data, t.room)
        t.data, t.room = wider, room
    us = us - w.first_ns // 1000 if us > w.first_ns // 1000 else 0
    w.head.microseconds = us if us > w.head.microseconds else w.head.microseconds
    if t.events == 0:
        t.first_us = t.last_us = us
    elif us >= t.last_us + TRACE_TIME_US:
        t.data[t.used] = OP_TIME
        end = put_number(&t.data[t.used + 1], us - t.last_us)
        t.used = <uint64_t>(end - t.data)
        t.last_us = us
    return t


cdef inline void thread_did(Writer* w, Thread* t, const unsigned char* end, int kind) noexcept nogil:
    """An operation was written up to `end`."""
    t.used = <uint64_t>(end - t.data)
    t.events += 1
    w.head.events += 1
    w.head.kind[kind] += 1
    w.head.peak_bytes = w.bytes if w.bytes > w.head.peak_bytes else w.head.peak_bytes
    w.head.peak_blocks = w.blocks if w.blocks > w.head.peak_blocks else w.head.peak_blocks
    if w.head.events % w.head.slice_events == 0:
        slice_end(w)


cdef inline bint slot_new(Writer* w, Thread* t, uint32_t block) noexcept nogil:
    """Give the block its slot, which `link` keeps; True for a shared one."""
    cdef bint shared = (w.story.touched[block] & <uint32_t>SHARED) != 0
    w.story.link[block] = (shared_slot(&w.freed, &w.head.shared_slots, w.slice) if shared
                           else own_slot(&t.freed, &t.line.slots))
    w.head.handed += shared
    w.bytes += event_bytes(story_event(w.story, block))
    w.blocks += 1
    return shared


cdef inline bint slot_end(Writer* w, Thread* t, uint32_t block) noexcept nogil:
    """The block's slot is free; True for a shared one."""
    cdef bint shared = (w.story.touched[block] & <uint32_t>SHARED) != 0
    w.failed |= not (shared_slot_free(&w.freed, w.story.link[block], w.slice) if shared
                     else own_slot_free(&t.freed, w.story.link[block]))
    w.bytes -= event_bytes(story_event(w.story, block))
    w.blocks -= 1
    return shared


cdef inline void write_block(Writer* w, const RawEvent* e, uint32_t block, uint32_t old) noexcept nogil:
    """malloc, calloc, an aligned one, or, with an old block, realloc."""
    cdef Thread* t = thread_begin(w, e)
    cdef uint32_t touched = w.story.touched[block] & <uint32_t>TOUCHED_ALL, old_slot = 0
    cdef int kind = OP_CALLOC if event_op(e) == RAW_CALLOC else OP_ALIGNED if event_op(e) == RAW_ALIGNED else OP_MALLOC
    cdef unsigned char* at
    cdef unsigned char* flags
    if t == NULL:
        return
    flags = at = &t.data[t.used]
    at += 1
    if old != <uint32_t>NO_BLOCK:
        kind = OP_REALLOC
        old_slot = w.story.link[old]
        flags[0] = kind | (OP_SHARED if slot_end(w, t, old) else 0)
        flags[0] |= OP_NEW_SHARED if slot_new(w, t, block) else 0
        at = put_number(at, old_slot)
    else:
        flags[0] = kind | (OP_SHARED if slot_new(w, t, block) else 0)
    at = put_number(at, w.story.link[block])
    at = put_number(at, event_bytes(e))
    if kind == OP_REALLOC:
        at = put_number(at, event_bytes(story_event(w.story, old)))
    elif kind == OP_ALIGNED:
        at = put_number(at, e.size >> RAW_SIZE_BITS)
    if touched != TOUCHED_ALL:
        flags[0] |= OP_TOUCHED
        at = put_number(at, touched)
    thread_did(w, t, at, kind)


cdef inline void write_free(Writer* w, const RawEvent* e, uint32_t block) noexcept nogil:
    cdef Thread* t = thread_begin(w, e)
    cdef bint shared
    if t == NULL:
        return
    shared = slot_end(w, t, block)
    t.data[t.used] = OP_FREE | (OP_SHARED if shared else 0)
    thread_did(w, t, put_number(&t.data[t.used + 1], w.story.link[block]), OP_FREE)


cdef inline void write_event(Writer* w, const RawEvent* e, uint64_t number) noexcept nogil:
    """Write one event as an operation, if it is one."""
    cdef int op = event_op(e)
    cdef uint32_t* resizing = &w.story.resizing[event_thread(e)]
    cdef uint32_t old = <uint32_t>NO_BLOCK
    if resizing[0] != <uint32_t>NO_BLOCK and (op == RAW_RESIZED or (op == RAW_FREE and e.address == 0)):
        old = w.story.link[resizing[0]]
        resizing[0] = <uint32_t>NO_BLOCK
    if event_makes_block(op):
        write_block(w, e, <uint32_t>number, old)
    elif op == RAW_FREE:
        old = old if e.address == 0 else w.story.link[number]
        if old != <uint32_t>NO_BLOCK:
            write_free(w, e, old)
    elif op == RAW_RESIZE:
        resizing[0] = <uint32_t>number
    elif op == RAW_RESIZE_FAILED:
        resizing[0] = <uint32_t>NO_BLOCK
    elif op == RAW_THREAD_END:
        w.thread[event_thread(e)].line.ends = 1


cdef inline bint writer_write(Writer* w) noexcept nogil:
    """Write every event of the story; False when that failed."""
    cdef const RawEvent* e
    cdef uint64_t i
    for i in range(w.story.header.threads + 2):
        w.story.resizing[i] = <uint32_t>NO_BLOCK
    for i in range(w.story.count):
        e = story_event(w.story, i)
        if e != NULL and not w.failed:
            if not w.begun and i >= w.story.inherits:
                w.begun, w.first_ns = True, e.moment >> 8
            write_event(w, e, i)
            w.head.inherited = w.head.events if i < w.story.inherits else w.head.inherited
    slice_end(w)
    return not w.failed


cdef inline bint writer_close(Writer* w, const char* info) noexcept nogil:
    """Write index, threads, text and header; False when that failed."""
    cdef uint64_t i, size = w.head.segments * sizeof(TraceSegment)
    cdef TraceHeader* h = &w.head
    memcpy(h.magic, TRACE_MAGIC, 8)
    h.slices = w.slice
    h.index_at = w.at
    h.threads_at = h.index_at + size
    h.info_at = h.threads_at + h.threads * sizeof(TraceThread)
    h.info_bytes = strlen(info)
    h.bytes = h.info_at + h.info_bytes
    h.end_bytes, h.end_blocks = w.bytes, w.blocks
    h.unknown, h.unfreed, h.lost = w.story.unknown, w.story.unfreed, w.story.header.lost
    w.failed |= not file_write_all(w.fd, w.segment, size)
    for i in range(h.threads):
        w.failed |= not file_write_all(w.fd, &w.thread[w.raw_number[i]].line, sizeof(TraceThread))
    w.failed |= not file_write_all(w.fd, info, h.info_bytes) or not file_write_at(w.fd, h, sizeof(TraceHeader), 0)
    return not w.failed
