# The heap profile: who holds memory now.
# A recording that chooses blocks by their bytes, and keeps the call stack of each.
#
#     with what probability   bytes / interval: a block of a small class at its class's size, a large one at what was asked for;
#                             1 at most, and 1 / every for small classes, since every-th entries of bins are candidates
#     what it stands for      the reciprocal of that: mostly `interval` bytes
#     where it lies           a small one in a slab with a record; a large one where it would be, with an entry in a table
#
# docs/heap-profile.md argues why estimates are unbiased. The stack is found while nothing is held, and then given a number
# under the profile's lock.
from libc.stdint cimport uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_load_relaxed_u64
from rtmalloc.core.base.attributes cimport cold_int, cold_void, slow_pointer, slow_void
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport rt_os_map
from rtmalloc.core.base.size_class cimport rt_class_size
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.pages.tag cimport tag_class, tag_of_slice
from rtmalloc.core.profile.profile cimport (
    profile_begin, profile_heap_stands, profile_now, profile_object, profile_start,
)
from rtmalloc.core.spans.object cimport object_span
from rtmalloc.core.types cimport Allocator, ProfileRecord, Span

cdef extern from "profile/python_walk.h" nogil:
    ctypedef struct rt_python_walk:
        pass

cdef extern from "profile/heap_tables.h" nogil:
    ctypedef struct rt_heap_stack:
        uint32_t first
        uint32_t depth
        uint64_t samples
        uint64_t objects
        uint64_t bytes
    ctypedef struct rt_heap_string:
        uint32_t at
        uint32_t length
    ctypedef struct rt_heap_frame:
        uint64_t address
        uint32_t file
        uint32_t name
        uint32_t line
        uint32_t kind
    ctypedef struct rt_heap_large:
        const void* address
        uint64_t bytes
        uint64_t begin
        uint32_t stack
        uint32_t thread
    ctypedef struct rt_heap_tables:
        uint64_t interval
        uint32_t strings
        uint32_t frames
        uint32_t stacks
        uint32_t larges
        uint32_t left_out
        uint64_t sampled
        uint64_t freed
        rt_heap_string* string
        rt_heap_frame* frame
        rt_heap_stack* stack
        uint32_t* node
        rt_heap_large* large
        char* texts
        uint64_t (*life)[24]
    ctypedef struct rt_heap_found:
        uint32_t native
    enum:
        RT_HEAP_LARGE
        RT_HEAP_LIVES
    const rt_python_walk* rt_python_walker
    uint32_t rt_heap_python_how() noexcept
    uint32_t rt_unwind_how
    void rt_unwind_open() noexcept
    void rt_heap_begin(rt_heap_tables* t, uint64_t interval) noexcept
    void rt_heap_look(rt_heap_found* found) noexcept
    uint32_t rt_heap_stack_of(rt_heap_tables* t, const rt_heap_found* found) noexcept
    uint32_t rt_heap_thread_of(rt_heap_tables* t, const rt_heap_found* found) noexcept
    bint rt_heap_draw(rt_heap_tables* t, uint64_t bytes) noexcept
    bint rt_heap_large_add(rt_heap_tables* t, rt_heap_large entry) noexcept
    void rt_heap_large_remove(rt_heap_tables* t, const void* address, uint64_t now) noexcept

cdef enum:
    HEAP_PROFILE_CANDIDATE = 16384  # bytes: up to this size blocks are chosen by their bytes alone
    HEAP_PROFILE_BINS = 2048   # bytes: larger small classes have no bins, but those that they had when it began


cdef inline bint heap_profile_is_on(const Allocator* a) noexcept nogil:
    return rt_load_relaxed_u32(&a.profile.recording) != 0 and rt_load_relaxed_u32(&a.profile.of_heap) != 0


cdef inline rt_heap_tables* heap_profile_tables(const Allocator* a) noexcept nogil:
    return <rt_heap_tables*>a.profile.heap


cdef inline bint heap_profile_accepts(const Allocator* a, uint32_t class_, uint64_t random) noexcept nogil:
    # Whether a candidate of a class is chosen; `random` is uniform below the interval.
    return random < <uint64_t>rt_class_size[class_] * a.profile.every


cdef inline void heap_profile_count(Allocator* a, uint32_t stack, uint64_t bytes, bint small) noexcept nogil:
    # Under the lock: what a chosen block of `bytes` stands for is added to what its stack has asked for.
    cdef rt_heap_stack* s = &heap_profile_tables(a).stack[stack]
    cdef uint64_t stands = profile_heap_stands(a, bytes, small)
    s.samples += 1
    s.objects += stands * 256 // bytes
    s.bytes += stands
    heap_profile_tables(a).sampled += 1


cdef inline slow_pointer heap_profile_take(
    Allocator* a, size_t bytes, uint32_t class_, uint32_t recording, const void* instead
) noexcept nogil:
    # An object for a request that was chosen, in place of `instead`; NULL when that recording is over, or there is no memory.
    cdef rt_heap_found found
    cdef ProfileRecord* record = NULL
    cdef void* p = NULL
    rt_heap_look(&found)
    lock_take(&a.profile.lock)
    if a.profile.recording == recording and a.profile.of_heap:
        p = profile_object(a, class_, &record)
    if p != NULL:
        record.begin = profile_now(a)
        record.bytes = <uint32_t>bytes
        record.recording = recording
        record.instead = instead
        record.stack = rt_heap_stack_of(heap_profile_tables(a), &found)
        record.thread = rt_heap_thread_of(heap_profile_tables(a), &found)
        heap_profile_count(a, record.stack, rt_class_size[class_], True)
    lock_drop(&a.profile.lock)
    return p


cdef inline slow_void heap_profile_follow(Allocator* a, const void* p, size_t bytes) noexcept nogil:
    # A large block that was chosen.
    cdef rt_heap_found found
    cdef rt_heap_large entry
    rt_heap_look(&found)
    lock_take(&a.profile.lock)
    if heap_profile_is_on(a):
        entry.address = p
        entry.bytes = bytes
        entry.begin = profile_now(a)
        entry.stack = rt_heap_stack_of(heap_profile_tables(a), &found)
        entry.thread = rt_heap_thread_of(heap_profile_tables(a), &found)
        if rt_heap_large_add(heap_profile_tables(a), entry):
            heap_profile_count(a, entry.stack, bytes, False)
    lock_drop(&a.profile.lock)


cdef inline void heap_profile_note(Allocator* a, const void* p, size_t bytes) noexcept nogil:
    # The program has got a large block, or an old one has now `bytes`.
    if unlikely(heap_profile_is_on(a) and p != NULL):
        if rt_heap_draw(heap_profile_tables(a), bytes):
            heap_profile_follow(a, p, bytes)


cdef inline void heap_profile_forget(Allocator* a, const void* p) noexcept nogil:
    # A large block is about to go, or to change: before that, since its address may be another thread's afterwards.
    if unlikely(heap_profile_is_on(a) and p != NULL):
        lock_take(&a.profile.lock)
        if heap_profile_is_on(a):
            rt_heap_large_remove(heap_profile_tables(a), p, profile_now(a))
        lock_drop(&a.profile.lock)


# ---- recordings

cdef inline cold_int heap_profile_start(Allocator* a, uint64_t interval) noexcept nogil:
    # Begin a heap profile, in place of whatever is recorded. 0 when there is no memory for it.
    cdef uint64_t every = interval // HEAP_PROFILE_CANDIDATE
    lock_take(&a.profile.lock)
    if a.profile.heap == NULL:
        a.profile.heap = rt_os_map(sizeof(rt_heap_tables))
    if a.profile.heap == NULL:
        lock_drop(&a.profile.lock)
        return 0
    rt_heap_begin(heap_profile_tables(a), interval)
    profile_begin(a, <uint32_t>every if every else 1, 1)
    lock_drop(&a.profile.lock)
    return 1


cdef inline cold_void heap_profile_fork_child(Allocator* a) noexcept nogil:
    # A fork child counts from now on: what was before is its parent's to tell, and what lived then stays uncounted.
    if heap_profile_is_on(a):
        heap_profile_start(a, heap_profile_tables(a).interval)
    elif a.profile.recording:
        profile_start(a, a.profile.every)


# ---- pinned pages

cdef inline uint32_t heap_profile_others(const Span* s, const void* p, size_t page, size_t page_bytes) noexcept nogil:
    # Objects of a span that are in use and overlap the page at `page`, other than `p`. (A look that holds nothing.)
    cdef size_t base = <size_t>s.base
    cdef size_t size = s.size
    cdef size_t first = (page - base) // size if page > base else 0
    cdef size_t end = (page + page_bytes - base + size - 1) // size
    cdef uint32_t used = 0
    cdef size_t i = first
    if end > s.objects:
        end = s.objects
    while i < end:
        if base + i * size != <size_t>p and not rt_load_relaxed_u64(&s.bits[i >> 6]) >> (i & 63) & 1:
            used += 1
        i += 1
    return used


cdef inline uint64_t heap_profile_share(const Allocator* a, const void* p, uint32_t class_) noexcept nogil:
    # Bytes of the pages that an object at `p` would keep resident: of each page that it overlaps its share, an equal one for
    # all objects in use there. `p` is where a followed object would lie, had it not been chosen.
    cdef size_t page_bytes = a.arena.page_bytes
    cdef size_t page = <size_t>p & ~(page_bytes - 1)
    cdef uint64_t slice = arena_slice_of(&a.arena, p)
    cdef const Span* s = NULL
    cdef uint64_t total = 0
    if slice < rt_load_relaxed_u64(&a.arena.slice_count) and tag_class(tag_of_slice(&a.arena, slice)) == class_:
        s = object_span(&a.arena, slice)
        if s.size != rt_class_size[class_] or s.base == NULL or <size_t>s.base > <size_t>p:
            s = NULL
    while page < <size_t>p + rt_class_size[class_]:
        total += page_bytes // (heap_profile_others(s, p, page, page_bytes) + 1 if s != NULL else 1)
        page += page_bytes
    return total
