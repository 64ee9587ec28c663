# Which requests the profile follows: those that take a chosen object out of a bin.
#
# A bin is a stack. Whatever enters it, fetched by a refill or freed, leaves it by exactly one malloc (or by a flush). So to
# choose one malloc in N without counting mallocs, choose one *entry* in N before its malloc comes: of every N objects that
# are freed into bins one at random, and of every N that refills fetch one at random. Each request is then followed with
# probability 1/N, whatever its size and whatever the program does around it.
#
# How malloc's fast path is made to miss at the chosen object: a *fence*, a cell that is NULL, stands above it. The bin looks
# empty there, and the slow path finds that it is not.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memmove

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32
from rtmalloc.core.base.attributes cimport cold_void, slow_pointer
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_random
from rtmalloc.core.base.size_class cimport rt_class_size
from rtmalloc.core.heaps.beat cimport beat_begin, beat_break
from rtmalloc.core.heaps.bin cimport bin_floor
from rtmalloc.core.heaps.home cimport home_free
from rtmalloc.core.profile.heap_profile cimport heap_profile_accepts, heap_profile_tables, heap_profile_take
from rtmalloc.core.profile.profile cimport profile_take
from rtmalloc.core.types cimport Allocator, Bin, Heap, Sampler


cdef inline uint32_t sample_random(Heap* h, uint32_t below) noexcept nogil:
    # 0 .. below - 1, from a xorshift generator.
    cdef uint64_t x = h.sample_seed
    x ^= x << 13
    x ^= x >> 7
    x ^= x << 17
    h.sample_seed = x
    return <uint32_t>(((x >> 32) * below) >> 32)


cdef inline void sample_next(Heap* h, Sampler* s) noexcept nogil:
    # The chosen entry was the present one: choose one of the next N.
    cdef uint32_t every = h.allocator.profile.every
    cdef uint32_t place = sample_random(h, every)
    s.left = every - s.place + place
    s.place = place


cdef inline bint sample_accepts(Heap* h, uint32_t class_) noexcept nogil:
    # Whether a chosen entry is followed: by a profile of sizes always, by a heap profile with a probability by its bytes.
    cdef Allocator* a = h.allocator
    if not rt_load_relaxed_u32(&a.profile.of_heap):
        return True
    return heap_profile_accepts(a, class_, sample_random(h, <uint32_t>heap_profile_tables(a).interval))


cdef inline slow_pointer sample_follow(Heap* h, size_t bytes, uint32_t class_, void* instead) noexcept nogil:
    # The object that a followed request gets in place of the one that it has met; NULL: it is not followed.
    if rt_load_relaxed_u32(&h.allocator.profile.of_heap):
        return heap_profile_take(h.allocator, bytes, class_, h.recording, instead)
    return profile_take(h.allocator, bytes, class_, h.recording)


cdef inline void sample_begin_one(Heap* h, Sampler* s) noexcept nogil:
    s.place = sample_random(h, h.allocator.profile.every)
    s.left = s.place + 1


cdef inline cold_void sample_begin(Heap* h) noexcept nogil:
    # Follow what the profile does now: a recording has begun or ended.
    h.recording = rt_load_relaxed_u32(&h.allocator.profile.recording)
    if h.recording:
        if h.sample_seed == 0:
            h.sample_seed = rt_os_random() ^ <uint64_t>h.id * 0x9E3779B97F4A7C15ULL ^ rt_os_clock_ms() << 20
            if h.sample_seed == 0:
                h.sample_seed = 1
        sample_begin_one(h, &h.sample_freed)
        sample_begin_one(h, &h.sample_fetched)


cdef inline void sample_push(Heap* h, uint32_t class_, void* p, bint chosen) noexcept nogil:
    # Put an object into a bin that has room for it, with a fence above it if it is chosen.
    cdef Bin* b = &h.bins[class_]
    cdef void* newest
    if chosen and b.limit - b.top == 1 and b.top[0] != NULL:
        # The fence wants a cell: that of the newest entry, which goes home.
        newest = b.top[0]
        b.top -= 1
        home_free(h, newest, rt_class_size[class_])
    b.top[1] = p
    b.top += 1
    if chosen and b.top != b.limit:
        b.top[1] = NULL
        b.top += 1


cdef inline void sample_enter(Heap* h, uint32_t class_, void* p) noexcept nogil:
    # A slow path puts an object into the bin: it counts as one fetched. Home, if there is no room.
    cdef bint chosen = False
    if h.bins[class_].top == h.bins[class_].limit:
        home_free(h, p, rt_class_size[class_])
        return
    if h.recording:
        h.sample_fetched.left -= 1
        if h.sample_fetched.left == 0:
            chosen = sample_accepts(h, class_)
            sample_next(h, &h.sample_fetched)
    sample_push(h, class_, p, chosen)


cdef inline slow_pointer sample_take_fence(Heap* h, uint32_t class_, size_t bytes) noexcept nogil:
    # The newest entry of a bin is a fence, and a request of `bytes` bytes has reached it.
    cdef Bin* b = &h.bins[class_]
    cdef void* p = (b.top - 1)[0]
    cdef void* followed = NULL
    b.top -= 2
    h.last_zeroed = False
    if h.recording:
        followed = sample_follow(h, bytes, class_, p)
    if followed == NULL:
        return p
    sample_enter(h, class_, p)
    return followed


cdef inline void sample_fence_at(Heap* h, uint32_t class_, uint32_t entry) noexcept nogil:
    # Set a fence above entry number `entry` of a bin, counted from 1 at the bottom, if there is a cell left for it.
    cdef Bin* b = &h.bins[class_]
    cdef void** cell = bin_floor(h, class_) + entry + 1
    if b.top == b.limit:
        return
    memmove(&cell[1], cell, <size_t>(b.top + 1 - cell) * sizeof(void*))
    cell[0] = NULL
    b.top += 1


cdef inline slow_pointer sample_fetched(Heap* h, uint32_t class_, size_t bytes, void* first, uint32_t got) noexcept nogil:
    # A refill has fetched `got` objects: `first`, which goes to the request at hand, and those that lie in the bin. Fence off
    # those that are chosen. Returns the object for the request.
    cdef void* followed = NULL
    # Objects are numbered in the order in which they will leave: 1 is `first`, 2 the newest entry of the bin.
    cdef uint32_t chosen = 0
    cdef bint direct = False
    while h.sample_fetched.left <= got - chosen:
        chosen += h.sample_fetched.left
        sample_next(h, &h.sample_fetched)
        if not sample_accepts(h, class_):
            continue
        if chosen == 1:
            direct = True
        else:
            sample_fence_at(h, class_, got - chosen + 1)
    h.sample_fetched.left -= got - chosen
    if not direct:
        return first
    followed = sample_follow(h, bytes, class_, first)
    if followed == NULL:
        return first
    h.last_zeroed = False
    sample_enter(h, class_, first)
    return followed


cdef inline void sample_freed(Heap* h, uint32_t class_, void* p) noexcept nogil:
    # A free has reached the end of its stretch (beat.pxd); it goes into the bin, which has room, as the chosen one if it is.
    cdef bint chosen = h.recording and h.sample_freed.left == 0
    if chosen:
        sample_next(h, &h.sample_freed)
        chosen = sample_accepts(h, class_)
    sample_push(h, class_, p, chosen)


cdef inline cold_void sample_renew(Heap* h) noexcept nogil:
    # The calling thread follows a recording that has just begun or ended; the others do so at their next tick.
    beat_break(h)
    sample_begin(h)
    beat_begin(h, h.beat_length)
