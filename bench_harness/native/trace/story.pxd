"""What a recorder's file tells: its events in their order, and which block each of them is about.

A block is known by the number of the event that made it. `link` and `touched` hold 4 bytes for each event.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp
from bench_harness.native.system cimport dprintf, map_pages, unmap_pages
from bench_harness.native.trace.format cimport (
    RAW_ALIGNED, RAW_CALLOC, RAW_EVENTS, RAW_FREE, RAW_HEADER, RAW_LARGE, RAW_MAGIC, RAW_MALLOC, RAW_RESIZE,
    RAW_RESIZED, RAW_RESIZE_FAILED, RAW_SIZE_BITS, RAW_THREAD_BITS, RAW_TOUCHED, TRACE_PAGE, RawEvent, RawHeader)
from bench_harness.native.trace.live cimport LIVE_FIRST, Live, Place, live_find, live_new, live_put, live_remove

cdef extern from "bench_harness/native/trace/files.h" nogil:
    const void* file_map(const char*, size_t*)

cdef enum:
    NO_BLOCK = 0xFFFFFFFF       # in `link`
    TOUCHED_ALL = 0x7FFFFFFF    # in `touched`
    SHARED = 0x80000000         # a bit in `touched`: another thread frees or resizes the block


cdef struct Story:
    const RawHeader* header
    const RawEvent* event       # as they lie in the file
    RawEvent* inherited         # blocks that were there already, in the order in which they were made
    uint32_t* place             # by number: 1 + where its event lies, 0: it was never written
    uint32_t* link              # of an event that ends a block: the block; of one that makes a block: yours
    uint32_t* touched           # of an event that makes a block: pages, or TOUCHED_ALL; and the bit SHARED
    uint32_t* resizing          # by thread: the number of its realloc that is under way, or NO_BLOCK
    uint64_t count              # events, inherited blocks first
    uint64_t inherits
    uint64_t page               # bytes of the recording machine's pages
    uint64_t unknown
    uint64_t unfreed
    Live live


cdef inline const RawEvent* story_event(const Story* s, uint64_t number) noexcept nogil:
    """The event of this number; NULL when it was never written."""
    if number < s.inherits:
        return &s.inherited[number]
    number -= s.inherits
    return &s.event[s.place[number] - 1] if s.place[number] != 0 else NULL


cdef inline int event_op(const RawEvent* e) noexcept nogil:
    return <int>(e.moment & 255)


cdef inline uint32_t event_thread(const RawEvent* e) noexcept nogil:
    return <uint32_t>(e.order & ((<uint64_t>1 << RAW_THREAD_BITS) - 1))


cdef inline uint64_t event_bytes(const RawEvent* e) noexcept nogil:
    return e.size & ((<uint64_t>1 << RAW_SIZE_BITS) - 1)


cdef inline bint event_makes_block(int op) noexcept nogil:
    return op == RAW_MALLOC or op == RAW_CALLOC or op == RAW_ALIGNED or op == RAW_RESIZED


cdef inline bint story_open(Story* s, const char* path, uint64_t until) noexcept nogil:
    """Map a recorder's file and put its first `until` events in order; False, with a line on stderr, if it is none."""
    cdef size_t bytes
    cdef uint64_t events, i, number
    s.header = <const RawHeader*>file_map(path, &bytes)
    if s.header == NULL or bytes < RAW_HEADER or memcmp(s.header.magic, RAW_MAGIC, 8) != 0:
        dprintf(2, "%s: not a recorder's file\n", path)
        return False
    s.event = <const RawEvent*>(<const char*>s.header + RAW_HEADER)
    s.count = s.header.events if s.header.events < until else until
    if s.count >= SHARED:
        dprintf(2, "%s: %lu events are more than a trace can hold\n", path, s.count)
        return False
    s.page = s.header.page
    s.place = <uint32_t*>map_pages(s.count * sizeof(uint32_t))
    s.resizing = <uint32_t*>map_pages((s.header.threads + 2) * sizeof(uint32_t))
    if s.place == NULL or s.resizing == NULL:
        dprintf(2, "no memory for the order of %lu events\n", s.count)
        return False
    events = (bytes - RAW_HEADER) // sizeof(RawEvent)
    for i in range(events):
        number = s.event[i].order >> RAW_THREAD_BITS
        if event_op(&s.event[i]) != 0 and number < s.count and event_thread(&s.event[i]) <= s.header.threads:
            s.place[number] = <uint32_t>i + 1
    return True


cdef inline bint story_inherit(Story* s, RawEvent* blocks, uint64_t count) noexcept nogil:
    """Let the story begin with blocks that are there already, and make room for what `story_resolve` finds."""
    cdef uint64_t i
    s.inherited = blocks
    s.inherits = count
    s.count += count
    s.unknown = s.unfreed = 0
    s.link = <uint32_t*>map_pages(s.count * sizeof(uint32_t))
    s.touched = <uint32_t*>map_pages(s.count * sizeof(uint32_t))
    for i in range(s.header.threads + 2):
        s.resizing[i] = <uint32_t>NO_BLOCK
    return s.link != NULL and s.touched != NULL and live_new(&s.live, LIVE_FIRST)


cdef inline void story_end_block(Story* s, uint64_t number, const RawEvent* e, Place* p) noexcept nogil:
    """Event `number` ends the block at place p."""
    cdef uint32_t block = <uint32_t>p.block
    s.link[number] = block
    if event_thread(story_event(s, block)) != event_thread(e):
        s.touched[block] |= <uint32_t>SHARED
    live_remove(&s.live, p)


cdef inline bint story_make_block(Story* s, uint64_t number, const RawEvent* e) noexcept nogil:
    s.touched[number] = TOUCHED_ALL
    s.unfreed += live_find(&s.live, e.address).address != 0
    return live_put(&s.live, e.address, number)


cdef inline void story_end(Story* s, uint64_t number, const RawEvent* e) noexcept nogil:
    """A free, or the begin of a realloc: the block at the address goes."""
    cdef Place* p = live_find(&s.live, e.address)
    s.link[number] = <uint32_t>NO_BLOCK
    if p.address == 0:
        s.unknown += 1
    else:
        story_end_block(s, number, e, p)
    if event_op(e) == RAW_RESIZE:
        s.resizing[event_thread(e)] = <uint32_t>number


cdef inline bint story_restore(Story* s, const RawEvent* e) noexcept nogil:
    """A realloc that failed: its old block stays."""
    cdef uint32_t resize = s.resizing[event_thread(e)]
    if resize == <uint32_t>NO_BLOCK or s.link[resize] == <uint32_t>NO_BLOCK:
        return True
    return live_put(&s.live, e.address, s.link[resize])


cdef inline void story_touch(Story* s, const RawEvent* e) noexcept nogil:
    """So many of a large block's pages were resident when it went."""
    cdef Place* p = live_find(&s.live, e.address)
    cdef uint64_t pages = e.size * s.page // TRACE_PAGE
    if p.address != 0 and event_bytes(story_event(s, p.block)) >= RAW_LARGE:
        if pages * TRACE_PAGE < event_bytes(story_event(s, p.block)):
            s.touched[p.block] = s.touched[p.block] & <uint32_t>SHARED | <uint32_t>pages


cdef inline bint story_resolve(Story* s) noexcept nogil:
    """Find for each event the block that it is about; False without memory."""
    cdef const RawEvent* e
    cdef uint64_t i
    cdef int op
    cdef bint well = True
    for i in range(s.count):
        e = story_event(s, i)
        if e == NULL:
            continue
        op = event_op(e)
        if event_makes_block(op):
            well = story_make_block(s, i, e)
        elif op == RAW_RESIZE or (op == RAW_FREE and e.address != 0):   # at 0: realloc(p, 0), which is one already
            story_end(s, i, e)
        elif op == RAW_RESIZE_FAILED:
            well = story_restore(s, e)
        elif op == RAW_TOUCHED:
            story_touch(s, e)
        if not well:
            return False
    return True


cdef inline RawEvent* story_live(const Story* s, uint64_t* count) noexcept nogil:
    """Copies of the events that made what is live now, in their order, as if the first thread had made all of it."""
    cdef RawEvent* blocks = <RawEvent*>map_pages(s.live.used * sizeof(RawEvent))
    cdef const RawEvent* e
    cdef Place* p
    cdef uint64_t i
    count[0] = 0
    if blocks == NULL:
        return NULL
    for i in range(s.count):
        e = story_event(s, i)
        if e != NULL and event_makes_block(event_op(e)):
            p = live_find(&s.live, e.address)
            if p.address != 0 and p.block == i:
                blocks[count[0]] = e[0]
                blocks[count[0]].order = 1
                blocks[count[0]].moment = <uint64_t>(RAW_MALLOC if event_op(e) == RAW_RESIZED else event_op(e))
                count[0] += 1
    return blocks
