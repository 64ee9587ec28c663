# A bin: a stack of free objects of one class, as pointers in the heap's cells; how it grows and shrinks.
# malloc pops and free pushes in calls/thread_front.pxd.
#
# A cell that is NULL ends the stack for malloc: the bottom of the block is one, and so is a *fence* (sample.pxd), which
# stands above the object that it is for.
#
# The capacity of a bin follows what the bin turns over. It starts small; it doubles at a refill when the bin has run full
# since the last one, when the thread frees about as much as it fetches, and when it fetches for long. What a thread does once, such as filling a table
# and dropping it, leaves small bins behind.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from cython cimport unlikely

from rtmalloc.core.base._options cimport (
    RT_OPTION_bin_kib, RT_OPTION_bin_max, RT_OPTION_slow_start_bytes, RT_OPTION_thread_kib,
    RT_OPTION_thread_least_kib, RT_OPTION_total_kib,
)
from rtmalloc.core.base.atomics cimport rt_compiler_barrier, rt_load_relaxed_u32, rt_load_relaxed_u64
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.bitmap cimport rt_highest_bit
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size
from rtmalloc.core.heaps.beat cimport beat_frees
from rtmalloc.core.heaps.cells cimport cells_give, cells_reset, cells_take
from rtmalloc.core.heaps.home cimport home_send
from rtmalloc.core.heaps.tls cimport rt_no_cells
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.pages.tag cimport tag_class, tag_of_slice
from rtmalloc.core.profile.heap_profile cimport HEAP_PROFILE_BINS, heap_profile_is_on
from rtmalloc.core.spans.object cimport object_locate
from rtmalloc.core.types cimport CLASSES_MOST, Allocator, Arena, Bin, Heap, Source, Span

cdef extern from "heaps/bin.h" nogil:
    void** rt_bin_top(void* heap, size_t at) noexcept
    void** rt_bin_limit(void* heap, size_t at) noexcept
    void rt_bin_raise(void* heap, size_t at) noexcept
    void rt_bin_lower(void* heap, size_t at) noexcept

cdef enum:
    BIN_STEAL_BYTES = 2048     # how much a bin grows at the cost of others
    BIN_LEAST = 2              # entries: an object, and a fence above it (sample.pxd)
    BIN_LEAVING = 256          # objects that leave a bin at a time
    BIN_REFILLS = 8            # refills in one epoch that make a bin grow, whatever is freed
    BIN_OVERFLOWS = 2          # times what a bin holds: so many objects that it did not keep, without a refill


cdef inline uint32_t bin_level(uint32_t capacity) noexcept nogil:
    # The block of a bin with so many entries has 2**level cells, one of them for the NULL at the bottom.
    return rt_highest_bit(capacity) + 1


cdef inline void** bin_floor(Heap* h, uint32_t class_) noexcept nogil:
    # The NULL at the bottom.
    return h.bins[class_].limit - h.sources[class_].capacity


cdef inline uint32_t bin_length(Heap* h, uint32_t class_) noexcept nogil:
    # Entries in a bin, fences counted.
    return <uint32_t>(h.bins[class_].top - bin_floor(h, class_))


cdef inline Span* bin_entry_span(const Arena* a, const void* p, uint32_t class_, uint32_t* object_) noexcept nogil:
    # The span of what may stand in a bin of the class, and the object's number; NULL when `p` is no such object, or its span
    # has it.
    cdef uint64_t slice = arena_slice_of(a, p)
    cdef Span* s
    if slice >= rt_load_relaxed_u64(&a.slice_count) or tag_class(tag_of_slice(a, slice)) != class_:
        return NULL
    s = object_locate(a, p, object_)
    if s == NULL or rt_load_relaxed_u64(&s.bits[object_[0] >> 6]) >> (object_[0] & 63) & 1:
        return NULL
    return s


cdef inline uint32_t bin_most(const Allocator* a, uint32_t class_) noexcept nogil:
    # How many entries the options let a bin have. (A heap profile lets no short bins grow: in them a fence's cell counts.)
    cdef int64_t most = a.options.value[RT_OPTION_bin_kib] * 1024 // rt_class_size[class_]
    if most < BIN_LEAST:
        most = BIN_LEAST
    if rt_class_size[class_] > HEAP_PROFILE_BINS and heap_profile_is_on(a):
        return 0
    return <uint32_t>(most if most < a.options.value[RT_OPTION_bin_max] else a.options.value[RT_OPTION_bin_max])


cdef inline void bins_open(Heap* h) noexcept nogil:
    # All bins empty and without a block.
    cdef uint32_t c
    for c in range(CLASSES_MOST):
        h.bins[c].top = rt_no_cells
        h.bins[c].limit = rt_no_cells
    memset(h.sources, 0, sizeof(h.sources))
    h.capacity_bytes = 0
    cells_reset(h)


cdef inline void bin_set_capacity(Heap* h, uint32_t class_, uint32_t capacity) noexcept nogil:
    # The bin holds at most so many, and its block has room for them.
    cdef Source* source = &h.sources[class_]
    h.bins[class_].limit = bin_floor(h, class_) + capacity
    h.capacity_bytes += (<int64_t>capacity - source.capacity) * rt_class_size[class_]
    source.capacity = <uint16_t>capacity


cdef inline void bin_drop_block(Heap* h, uint32_t class_) noexcept nogil:
    # An empty bin gives up its block and all capacity.
    cdef Source* source = &h.sources[class_]
    cdef void** block = bin_floor(h, class_)
    if source.block == 0:
        return
    bin_set_capacity(h, class_, 0)
    cells_give(h, block, rt_highest_bit(source.block))
    source.block = 0
    h.bins[class_].top = rt_no_cells
    h.bins[class_].limit = rt_no_cells


cdef inline bint bin_resize(Heap* h, uint32_t class_, uint32_t capacity) noexcept nogil:
    # Give an empty bin room for `capacity` >= 1 entries; False when the heap has no cells left, and then nothing changed.
    cdef Source* source = &h.sources[class_]
    cdef uint32_t level = bin_level(capacity)
    cdef void** block
    if source.block < (1 << level):
        block = cells_take(h, level)
        if block == NULL:
            return False
        bin_drop_block(h, class_)
        block[0] = NULL
        source.block = <uint16_t>(1 << level)
        h.bins[class_].top = block
        h.bins[class_].limit = block
    bin_set_capacity(h, class_, capacity)
    return True


cdef inline void bin_drop_oldest(Heap* h, uint32_t class_, uint32_t count) noexcept nogil:
    # The `count` entries at the bottom have been taken out: the others move down.
    cdef Bin* b = &h.bins[class_]
    cdef void** floor_ = bin_floor(h, class_)
    memmove(&floor_[1], &floor_[1 + count], <size_t>(b.top - floor_ - count) * sizeof(void*))
    rt_compiler_barrier()
    b.top -= count
    rt_compiler_barrier()


# ---- giving back

cdef inline void bin_flush(Heap* h, uint32_t class_, uint32_t keep) noexcept nogil:
    # Return all but `keep` entries of a bin to their spans: the oldest ones, which lie deepest. They leave the bin before they
    # go: once home they may be another thread's, and a fork's child looks at the bins of threads that it does not have. A
    # fence goes with the object below it.
    cdef void* leaving[BIN_LEAVING]
    cdef uint32_t length = bin_length(h, class_)
    cdef uint32_t left = length - keep if length > keep else 0
    cdef uint32_t count
    if left and left < length and bin_floor(h, class_)[left + 1] == NULL:
        left += 1
    while left:
        count = left if left < BIN_LEAVING else BIN_LEAVING
        left -= count
        memcpy(leaving, bin_floor(h, class_) + 1, count * sizeof(void*))
        bin_drop_oldest(h, class_, count)
        h.counters.flushed_objects += count
        home_send(h, leaving, count)


cdef inline slow_void bin_close(Heap* h, uint32_t class_) noexcept nogil:
    # Give back all of a bin, objects and capacity: its next refill is a slow start.
    bin_flush(h, class_, 0)
    bin_drop_block(h, class_)


cdef inline void bin_shrink(Heap* h, uint32_t class_, uint32_t capacity) noexcept nogil:
    # Take capacity away, and with it what lies beyond.
    if capacity < BIN_LEAST:
        capacity = 0
    bin_flush(h, class_, capacity)
    if capacity == 0:
        bin_drop_block(h, class_)
    else:
        bin_set_capacity(h, class_, capacity)


cdef inline bint bin_is_useless(Heap* h, uint32_t class_) noexcept nogil:
    # A thread has freed many times more than the bin holds and has never found it empty since: what lies in it may be the
    # last objects of many spans, of a thread that is about to sleep. (The bins of CPUs stay.)
    cdef Source* source = &h.sources[class_]
    return source.overflows > BIN_OVERFLOWS * <uint32_t>source.capacity


cdef inline void bin_overflow(Heap* h, uint32_t class_) noexcept nogil:
    # A bin that has a capacity is full: its older half goes home. If it only ever overflows, all of it does, and it closes.
    cdef Source* source = &h.sources[class_]
    cdef uint32_t half = (<uint32_t>source.capacity + 1) // 2
    source.overflows = <uint16_t>(source.overflows + half + 1 if source.overflows + half < 0xFFFF else 0xFFFF)
    if unlikely(bin_is_useless(h, class_)):
        bin_close(h, class_)
    else:
        bin_flush(h, class_, source.capacity - half)


# ---- growing

cdef inline int64_t bins_allowance(const Allocator* a) noexcept nogil:
    # Bytes of capacity that one heap may have: its share of what all heaps at work may have, within bounds of its own.
    cdef const int64_t* option = a.options.value
    cdef int64_t share = option[RT_OPTION_total_kib] // (rt_load_relaxed_u32(&a.heaps_awake) + 1)
    if share < option[RT_OPTION_thread_least_kib]:
        share = option[RT_OPTION_thread_least_kib]
    return (share if share < option[RT_OPTION_thread_kib] else option[RT_OPTION_thread_kib]) * 1024


cdef inline void bins_steal(Heap* h, uint32_t class_, int64_t bytes) noexcept nogil:
    # The allowance is used up: take capacity for `class_` from other bins, going round. Bins that are often empty take often,
    # all give alike: so capacity moves to where the misses are.
    cdef uint32_t victim = h.steal
    cdef uint32_t capacity, i
    for i in range(rt_class_count):
        if bytes <= 0:
            break
        victim = victim + 1 if victim + 1 < rt_class_count else 1
        capacity = h.sources[victim].capacity
        if victim != class_ and capacity:
            bin_shrink(h, victim, capacity - (capacity + 3) // 4)
            bytes -= <int64_t>((capacity + 3) // 4) * rt_class_size[victim]
    h.steal = victim


cdef inline bint bin_wants_more(Heap* h, uint32_t class_) noexcept nogil:
    # Whether an empty bin turns over more than it holds: it has run full since its last refill, or the thread has freed as
    # much since the heap's last refill as that one fetched, or refills come one behind another. (What a thread that fills a
    # table holds in its bins so stays a small part of the table.)
    cdef const Source* source = &h.sources[class_]
    if source.capacity == 0 or source.overflows != 0 or source.refills % BIN_REFILLS == BIN_REFILLS - 1:
        return True
    return (beat_frees(h) - h.freed_before) * 2 >= h.fetched_before


cdef inline slow_void bin_grow(Heap* h, uint32_t class_) noexcept nogil:
    # Give an empty bin twice the capacity, or a first one, as far as options and allowance go.
    cdef const Allocator* a = h.allocator
    cdef Source* source = &h.sources[class_]
    cdef int64_t size = rt_class_size[class_]
    cdef int64_t wanted = 2 * <int64_t>source.capacity + 1
    cdef int64_t room
    if source.capacity == 0:
        wanted = a.options.value[RT_OPTION_slow_start_bytes] // size
        if wanted < BIN_LEAST:
            wanted = BIN_LEAST
    if wanted > bin_most(a, class_):
        wanted = bin_most(a, class_)
    room = bins_allowance(a) - h.capacity_bytes
    if wanted > source.capacity and (wanted - source.capacity) * size > room:
        # A little, at the cost of others.
        if (wanted - source.capacity) * size > BIN_STEAL_BYTES:
            wanted = source.capacity + (BIN_STEAL_BYTES // size if size < BIN_STEAL_BYTES else 1)
        bins_steal(h, class_, (wanted - source.capacity) * size - room)
        if (wanted - source.capacity) * size > bins_allowance(a) - h.capacity_bytes:
            return
    if wanted > source.capacity and bin_resize(h, class_, <uint32_t>wanted):
        h.counters.bin_growths += 1
