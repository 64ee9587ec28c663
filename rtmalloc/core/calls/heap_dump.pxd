# The heap profile as a file: at exit, for a signal, and for Python.
# Python reads it back (rtmalloc/profile/heap_profile.py).
# docs/heap-profile.md describes the format. Nothing is held while it is written: slabs are copied one by one under the
# profile's lock, so the numbers are those of slightly different instants.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from rtmalloc.core.base._numbers cimport RT_STATS_COUNT, HeapCounters, Stats, rt_stats_names
from rtmalloc.core.base._options cimport RT_OPTION_heap_profile, RT_OPTION_heap_profile_signal
from rtmalloc.core.base.atomics cimport rt_load_acquire_u32, rt_load_relaxed_u32, rt_load_relaxed_u64
from rtmalloc.core.base.attributes cimport cold_int, cold_void
from rtmalloc.core.base.complain cimport complain, text_append, text_append_number
from rtmalloc.core.base.config cimport RT_SEGMENT_BYTES
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport rt_os_close, rt_os_map, rt_os_process_id, rt_os_unmap, rt_os_wall_ms
from rtmalloc.core.base.size_class cimport class_of_size, rt_class_count, rt_class_size
from rtmalloc.core.calls.heap_text cimport heap_text_escaped, heap_text_item, heap_text_next, heap_text_string
from rtmalloc.core.calls.stats cimport stats_cached, stats_gather
from rtmalloc.core.heaps.heap_pool cimport heap_first
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.pages.segment cimport SEGMENT_ACCESSIBLE, SEGMENT_SLICES
from rtmalloc.core.pages.tables cimport TABLES, table_end, table_place
from rtmalloc.core.pages.tag cimport TAG_SAMPLED, tag_code, tag_of_slice
from rtmalloc.core.profile.heap_profile cimport (
    RT_HEAP_LARGE, RT_HEAP_LIVES, heap_profile_is_on, heap_profile_share, heap_profile_tables, rt_heap_frame,
    rt_heap_large, rt_heap_python_how, rt_heap_tables, rt_unwind_how, rt_unwind_open,
)
from rtmalloc.core.profile.profile cimport profile_now
from rtmalloc.core.profile.profile_file cimport (
    ProfileText, profile_number, profile_text, profile_text_flush, profile_text_program, rt_heap_directory,
)
from rtmalloc.core.types cimport Allocator, Heap, ProfileRecord, Slot, Span

cdef extern from "calls/heap_file.h" nogil:
    int rt_heap_directory_open(const char* name, const char** problem) noexcept
    int rt_heap_file_new(int directory, const char* name) noexcept
    int rt_heap_file_end(int directory, const char* made, const char* name, bint whole) noexcept
    int rt_heap_source_open(const char* name) noexcept
    int64_t rt_heap_source_read(int file, char* text, size_t room) noexcept
    bint rt_heap_signal_open(int number, uint32_t* wake) noexcept
    bint rt_heap_is_wanted() noexcept

cdef extern from "calls/heap_symbol.h" nogil:
    ctypedef struct rt_symbol:
        uint64_t offset
        char file[256]
        char name[256]
    void rt_heap_symbol(uint64_t address, rt_symbol* symbol) noexcept

cdef enum:
    HEAP_DUMP_ROWS = 1024      # objects that a slab has at most
    HEAP_DUMP_PIECE = 512      # bytes of a file of /proc that are copied at a time
    HEAP_DUMP_NAME = 96        # bytes of a file's name

cdef struct HeapDumpRow:
    # A followed object.
    uint64_t address
    uint64_t bytes             # of its class
    ProfileRecord record


# ---- the parts

cdef inline void heap_dump_head(Allocator* a, ProfileText* t) noexcept nogil:
    cdef rt_heap_tables* tables = heap_profile_tables(a)
    cdef uint32_t i
    profile_text(t, b'{"format": "rtmalloc-heap", "version": 1,\n"program": "')
    profile_text_program(t)
    profile_text(t, b'"')
    heap_text_item(t, b"pid", rt_os_process_id())
    heap_text_item(t, b"time_ms", rt_os_wall_ms())
    heap_text_item(t, b"milliseconds", profile_now(a))
    heap_text_item(t, b"interval", tables.interval)
    heap_text_item(t, b"every", a.profile.every)
    heap_text_item(t, b"page_bytes", a.arena.page_bytes)
    heap_text_item(t, b"left_out", rt_load_relaxed_u32(&tables.left_out))
    heap_text_item(t, b"sampled", rt_load_relaxed_u64(&tables.sampled))
    heap_text_item(t, b"freed", rt_load_relaxed_u64(&tables.freed))
    heap_text_item(t, b"native", rt_unwind_how)
    heap_text_item(t, b"python", rt_heap_python_how())
    profile_text(t, b',\n"classes": [')
    for i in range(1, rt_class_count):
        profile_text(t, b", " if i > 1 else b"")
        profile_number(t, rt_class_size[i])
    profile_text(t, b"]")


cdef inline void heap_dump_frame(rt_heap_tables* tables, ProfileText* t, const rt_heap_frame* f) noexcept nogil:
    # [0, offset, file, symbol], [1, line, file, name] with the numbers of strings; of a coroutine with 3; or [2]: a remark.
    cdef rt_symbol symbol
    profile_text(t, b",\n[")
    profile_number(t, f.kind)
    if f.kind == 0:
        rt_heap_symbol(f.address, &symbol)
        heap_text_next(t, symbol.offset)
        profile_text(t, b", ")
        heap_text_string(t, symbol.file, strlen(symbol.file))
        profile_text(t, b", ")
        heap_text_string(t, symbol.name, strlen(symbol.name))
    elif f.kind != 2:
        heap_text_next(t, f.line)
        heap_text_next(t, f.file)
        heap_text_next(t, f.name)
    profile_text(t, b"]")


cdef inline void heap_dump_tables(Allocator* a, ProfileText* t) noexcept nogil:
    # Stacks first: what they name is then there.
    cdef rt_heap_tables* tables = heap_profile_tables(a)
    cdef uint32_t stacks = rt_load_acquire_u32(&tables.stacks)
    cdef uint32_t count, i, k
    profile_text(t, b',\n"stacks": [')
    for i in range(stacks):
        profile_text(t, b",\n[" if i else b"\n[")
        profile_number(t, rt_load_relaxed_u64(&tables.stack[i].samples))
        heap_text_next(t, rt_load_relaxed_u64(&tables.stack[i].objects))
        heap_text_next(t, rt_load_relaxed_u64(&tables.stack[i].bytes))
        for k in range(tables.stack[i].depth):
            heap_text_next(t, tables.node[tables.stack[i].first + k])
        profile_text(t, b"]")
    profile_text(t, b'],\n"frames": [[2]')
    count = rt_load_acquire_u32(&tables.frames)
    for i in range(1, count):
        heap_dump_frame(tables, t, &tables.frame[i])
    profile_text(t, b'],\n"strings": [""')
    count = rt_load_acquire_u32(&tables.strings)
    for i in range(1, count):
        profile_text(t, b",\n")
        heap_text_string(t, tables.texts + tables.string[i].at, tables.string[i].length)
    profile_text(t, b"]")


cdef inline void heap_dump_lives(Allocator* a, ProfileText* t) noexcept nogil:
    # [stack, bytes that lived less than 4 ms and are gone, less than 8, ...] of stacks that have such; the first is empty.
    cdef rt_heap_tables* tables = heap_profile_tables(a)
    cdef uint32_t stacks = rt_load_acquire_u32(&tables.stacks)
    cdef uint32_t i, k, steps
    profile_text(t, b',\n"lives": [[]')
    for i in range(stacks):
        steps = RT_HEAP_LIVES
        while steps > 0 and rt_load_relaxed_u64(&tables.life[i][steps - 1]) == 0:
            steps -= 1
        if steps == 0:
            continue
        profile_text(t, b",\n[")
        profile_number(t, i)
        for k in range(steps):
            heap_text_next(t, rt_load_relaxed_u64(&tables.life[i][k]))
        profile_text(t, b"]")
    profile_text(t, b"]")


cdef inline uint32_t heap_dump_slab(Allocator* a, uint32_t slice, HeapDumpRow* rows) noexcept nogil:
    # Copy what is followed in the slab that may begin at `slice`; how many objects.
    cdef Span* s = &a.arena.spans[slice]
    cdef ProfileRecord* record
    cdef uint32_t count = 0
    cdef uint32_t i
    lock_take(&a.profile.lock)
    if tag_code(tag_of_slice(&a.arena, slice)) == TAG_SAMPLED and s.index == slice:
        for i in range(s.objects):
            record = &(<ProfileRecord*>s.records)[i]
            if not s.bits[i >> 6] >> (i & 63) & 1 and record.recording == a.profile.recording:
                rows[count].address = <size_t>s.base + i * <size_t>s.size
                rows[count].bytes = s.size
                rows[count].record = record[0]
                count += 1
    lock_drop(&a.profile.lock)
    return count


cdef inline void heap_dump_row(Allocator* a, ProfileText* t, const HeapDumpRow* row, bint small) noexcept nogil:
    # [address, bytes of the block, bytes asked for, stack, thread, begin, bytes of pages that it would keep]
    profile_text(t, b",\n[")
    profile_number(t, row.address)
    heap_text_next(t, row.bytes)
    heap_text_next(t, row.record.bytes if small else row.bytes)
    heap_text_next(t, row.record.stack)
    heap_text_next(t, row.record.thread)
    heap_text_next(t, row.record.begin)
    heap_text_next(t, heap_profile_share(a, row.record.instead, class_of_size(row.bytes)) if small else row.bytes)
    profile_text(t, b"]")


cdef inline void heap_dump_live(Allocator* a, ProfileText* t, HeapDumpRow* rows) noexcept nogil:
    # Small blocks that live now; the first row is empty.
    cdef uint64_t slice
    cdef uint64_t end = <uint64_t>page_heap_opened(&a.arena.pages) * SEGMENT_SLICES
    cdef uint32_t count, i
    profile_text(t, b',\n"live": [[]')
    for slice in range(end):
        if rt_load_acquire_u32(&a.arena.pages.segments[slice // SEGMENT_SLICES].mapped) != SEGMENT_ACCESSIBLE:
            continue
        if tag_code(tag_of_slice(&a.arena, slice)) != TAG_SAMPLED:
            continue
        count = heap_dump_slab(a, <uint32_t>slice, rows)
        for i in range(count):
            heap_dump_row(a, t, &rows[i], True)
    profile_text(t, b"]")


cdef inline void heap_dump_large(Allocator* a, ProfileText* t, HeapDumpRow* rows) noexcept nogil:
    # Large blocks that live now; the first row is empty.
    cdef rt_heap_large* large = heap_profile_tables(a).large
    cdef uint32_t place = 0
    cdef uint32_t count, i
    profile_text(t, b',\n"large": [[]')
    while place < 2 * RT_HEAP_LARGE:
        count = 0
        lock_take(&a.profile.lock)
        for i in range(HEAP_DUMP_ROWS):
            if large[place + i].address != NULL:
                rows[count].address = <size_t>large[place + i].address
                rows[count].bytes = large[place + i].bytes
                rows[count].record.stack = large[place + i].stack
                rows[count].record.thread = large[place + i].thread
                rows[count].record.begin = large[place + i].begin
                count += 1
        lock_drop(&a.profile.lock)
        place += HEAP_DUMP_ROWS
        for i in range(count):
            heap_dump_row(a, t, &rows[i], False)
    profile_text(t, b"]")


cdef inline void heap_dump_stats(Allocator* a, ProfileText* t) noexcept nogil:
    # The allocator's numbers, and which addresses are its own.
    cdef Stats st
    cdef HeapCounters counters
    cdef uint64_t slices = <uint64_t>rt_load_relaxed_u32(&a.arena.pages.described) * SEGMENT_SLICES
    cdef uint64_t cached = 0
    cdef Heap* h = heap_first(a)
    cdef int i
    memset(&st, 0, sizeof(st))
    memset(&counters, 0, sizeof(counters))
    stats_gather(a, &st, &counters, NULL)
    while h != NULL:
        cached += stats_cached(h)
        h = h.next
    profile_text(t, b',\n"stats": {"in_bins": ')
    profile_number(t, cached)
    for i in range(RT_STATS_COUNT):
        heap_text_item(t, rt_stats_names[i], (<uint64_t*>&st)[i])
    profile_text(t, b'},\n"arena": [')
    profile_number(t, <size_t>a.arena.base)
    heap_text_next(t, <size_t>a.arena.base + <uint64_t>page_heap_opened(&a.arena.pages) * RT_SEGMENT_BYTES)
    profile_text(t, b'],\n"own": [')
    heap_dump_range(t, b"", a.profile.heap, sizeof(rt_heap_tables))
    heap_dump_range(t, b", ", a.slots, a.slot_count * sizeof(Slot))
    for i in range(TABLES):
        heap_dump_range(t, b", ", table_place(&a.arena, i)[0], table_end(&a.arena, i, slices))
    h = heap_first(a)
    while h != NULL:
        heap_dump_range(t, b", ", h, sizeof(Heap))
        heap_dump_range(t, b", ", h.cells, h.cell_count * sizeof(void*))
        h = h.next
    profile_text(t, b"]")


cdef inline void heap_dump_range(ProfileText* t, const char* before, const void* start, uint64_t bytes) noexcept nogil:
    profile_text(t, before)
    profile_text(t, b"[")
    profile_number(t, <size_t>start)
    heap_text_next(t, <size_t>start + bytes)
    profile_text(t, b"]")


cdef inline void heap_dump_copy(ProfileText* t, const char* name, const char* path) noexcept nogil:
    # A file of /proc as one string.
    cdef char piece[HEAP_DUMP_PIECE]
    cdef int file = rt_heap_source_open(path)
    cdef int64_t length = 1
    profile_text(t, b',\n"')
    profile_text(t, name)
    profile_text(t, b'": "')
    while file >= 0 and length > 0:
        length = rt_heap_source_read(file, piece, sizeof(piece))
        heap_text_escaped(t, piece, <size_t>length)
    if file >= 0:
        rt_os_close(file)
    profile_text(t, b'"')


# ---- the whole

cdef inline cold_int heap_dump_to(Allocator* a, int file) noexcept nogil:
    # Write the profile to an open file, holding nothing; 0 on success.
    cdef ProfileText t
    cdef size_t bytes = HEAP_DUMP_ROWS * sizeof(HeapDumpRow)
    cdef HeapDumpRow* rows = <HeapDumpRow*>rt_os_map(bytes)
    if rows == NULL:
        return -1
    memset(&t, 0, sizeof(t))
    t.file = file
    heap_dump_head(a, &t)
    heap_dump_live(a, &t, rows)
    heap_dump_large(a, &t, rows)
    heap_dump_lives(a, &t)
    heap_dump_tables(a, &t)
    heap_dump_stats(a, &t)
    heap_dump_copy(&t, b"smaps", b"/proc/self/smaps")
    profile_text(&t, b',\n"whole": true}\n')
    profile_text_flush(&t)
    rt_os_unmap(rows, bytes)
    return -1 if t.failed else 0


cdef inline cold_void heap_dump(Allocator* a) noexcept nogil:
    # Write DIRECTORY/rtmalloc-heap-PID-MS.json, if the environment named a directory and a heap profile is recorded.
    cdef char name[HEAP_DUMP_NAME]
    cdef char made[HEAP_DUMP_NAME + 1]
    cdef const char* problem = NULL
    cdef int directory, file
    cdef size_t at
    if rt_heap_directory[0] == 0 or not heap_profile_is_on(a):
        return
    at = text_append(name, 0, b"rtmalloc-heap-")
    at = text_append_number(name, at, rt_os_process_id())
    at = text_append(name, at, b"-")
    at = text_append_number(name, at, rt_os_wall_ms())
    at = text_append(name, at, b".json")
    name[at] = 0
    made[0] = c'.'
    memcpy(&made[1], name, at + 1)
    directory = rt_heap_directory_open(rt_heap_directory, &problem)
    if directory < 0:
        complain(b"RTMALLOC_HEAP_PROFILE", rt_heap_directory, problem)
        return
    file = rt_heap_file_new(directory, made)
    at = file >= 0 and heap_dump_to(a, file) == 0
    if file >= 0:
        rt_os_close(file)
    if rt_heap_file_end(directory, made, name, at) != 0:
        complain(b"RTMALLOC_HEAP_PROFILE", rt_heap_directory, b"the profile could not be written in full")


cdef inline void heap_dump_done() noexcept nogil:
    # Nothing is written at exit any more: an interpreter has told what it held before it gave all of it up.
    rt_heap_directory[0] = 0


cdef inline void heap_dump_wanted "rt_heap_dump_wanted"() noexcept nogil:
    # By the background thread, which holds nothing that the program could wait for.
    if rt_heap_is_wanted():
        heap_dump(allocator())


cdef inline cold_void heap_dump_open(Allocator* a) noexcept nogil:
    # When the library is loaded: what a walk needs is looked up, and the signal gets its handler.
    cdef int number = <int>a.options.value[RT_OPTION_heap_profile_signal]
    if not a.options.value[RT_OPTION_heap_profile]:
        return
    rt_unwind_open()
    if number and not rt_heap_signal_open(number, &a.background.state):
        complain(b"RTMALLOC_OPTIONS", b"heap_profile_signal", b"the signal has a use already")
