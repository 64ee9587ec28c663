# Which requests the profile follows: those that take a chosen object out of a bin.
#
# A bin is a stack. Whatever enters it, fetched by a refill or freed, leaves it by exactly one malloc (or by a flush). So to
# choose one malloc in N without counting mallocs, choose one *entry* in N, before anybody knows who will take it out:
# of every N objects that are freed into bins one at random, and of every N that refills fetch one at random. Each request
# is then followed with probability 1/N, whatever its size and whatever the program does around it.
#
# How malloc's fast path is made to miss at the chosen object: it becomes a *fence*. The bin looks empty from there on,
#
#     bin.head -> objects above the fence -> NULL        source.fence -> the chosen object
#     fence[0] -> the objects below it ...  -> NULL      fence[1] -> the next fence further down, or NULL
#
# and whoever finds the bin empty takes the fence. (An object has room for two words.) Fences count in the bin's length.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32
from rtmalloc.core.base.attributes cimport cold_void, slow_pointer
from rtmalloc.core.heaps.heap cimport Bin, Heap, Sampler, Source
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_random
from rtmalloc.core.profile.profile cimport profile_take


cdef inline uint32_t sampler_random(Heap* h, uint32_t below) noexcept nogil:
    # 0 .. below - 1, from a xorshift generator.
    cdef uint64_t x = h.sample_seed
    x ^= x << 13
    x ^= x >> 7
    x ^= x << 17
    h.sample_seed = x
    return <uint32_t>(((x >> 32) * below) >> 32)


cdef inline void sampler_next(Heap* h, Sampler* s) noexcept nogil:
    # The chosen entry was the present one: choose one of the next N.
    cdef uint32_t every = h.store.profile.every
    cdef uint32_t place = sampler_random(h, every)
    s.left = every - s.place + place
    s.place = place


cdef inline void sampler_begin(Heap* h, Sampler* s) noexcept nogil:
    s.place = sampler_random(h, h.store.profile.every)
    s.left = s.place + 1


cdef inline cold_void heap_sample_begin(Heap* h) noexcept nogil:
    # Follow what the profile does now: a recording has begun or ended.
    h.recording = rt_load_relaxed_u32(&h.store.profile.recording)
    if h.recording:
        if h.sample_seed == 0:
            h.sample_seed = rt_os_random() ^ <uint64_t>h.id * 0x9E3779B97F4A7C15ULL ^ rt_os_clock_ms() << 20
            if h.sample_seed == 0:
                h.sample_seed = 1
        sampler_begin(h, &h.sample_freed)
        sampler_begin(h, &h.sample_fetched)


cdef inline void bin_fence(Bin* b, Source* source, void* p) noexcept nogil:
    # Put an object into the bin as a fence.
    (<void**>p)[0] = b.head
    (<void**>p)[1] = source.fence
    source.fence = p
    b.head = NULL


cdef inline void bin_enter(Heap* h, uint32_t class_, void* p) noexcept nogil:
    # Put an object into the bin that counts as one fetched.
    cdef Bin* b = &h.bins[class_]
    b.room -= 1
    h.sample_fetched.left -= 1
    if h.sample_fetched.left == 0:
        sampler_next(h, &h.sample_fetched)
        bin_fence(b, &h.sources[class_], p)
    else:
        (<void**>p)[0] = b.head
        b.head = p


cdef inline slow_pointer heap_take_fence(Heap* h, uint32_t class_, size_t bytes) noexcept nogil:
    # The visible part of a bin is empty, and there is a fence: a request of `bytes` bytes has reached it.
    cdef Bin* b = &h.bins[class_]
    cdef Source* source = &h.sources[class_]
    cdef void* p = source.fence
    cdef void* followed = NULL
    source.fence = (<void**>p)[1]
    b.head = (<void**>p)[0]
    b.room += 1
    h.last_zeroed = False
    if h.recording:
        followed = profile_take(&h.store.profile, &h.store.arena, bytes, class_, h.recording)
    if followed == NULL:
        return p
    bin_enter(h, class_, p)
    return followed


cdef inline slow_pointer heap_sample_fetched(Heap* h, uint32_t class_, size_t bytes, void* first, uint32_t got) noexcept nogil:
    # A refill has fetched `got` objects: `first`, which goes to the request at hand, and the chain in the bin. Fence off
    # those that are chosen. Returns the object for the request.
    cdef Bin* b = &h.bins[class_]
    cdef Source* source = &h.sources[class_]
    cdef void** link = &b.head
    cdef void** fence = &source.fence
    cdef void* p
    cdef void* followed = NULL
    # Objects are numbered in the order in which they will leave: 1 is `first`, 2 the first of the chain.
    cdef uint32_t at = 2           # the object that `link` leads to
    cdef uint32_t chosen = 0       # the last chosen one
    cdef bint direct = False
    while h.sample_fetched.left <= got - chosen:
        chosen += h.sample_fetched.left
        sampler_next(h, &h.sample_fetched)
        if chosen == 1:
            direct = True
            continue
        while at < chosen:
            link = <void**>link[0]
            at += 1
        p = link[0]
        link[0] = NULL
        fence[0] = p
        fence = &(<void**>p)[1]
        fence[0] = NULL
        link = <void**>p
        at += 1
    h.sample_fetched.left -= got - chosen
    if not direct:
        return first
    followed = profile_take(&h.store.profile, &h.store.arena, bytes, class_, h.recording)
    if followed == NULL:
        return first
    h.last_zeroed = False
    bin_enter(h, class_, first)
    return followed


# ---- the heartbeat, which frees count: it is also what makes free's fast path stop at the chosen one

cdef inline void heap_beat_begin(Heap* h, int32_t until_tick) noexcept nogil:
    # Let the fast path count `until_tick` frees into bins, or fewer if one of them is chosen: it stops at the last.
    cdef int32_t stretch = until_tick
    if h.recording:
        if h.sample_freed.left < <uint32_t>stretch:
            stretch = <int32_t>h.sample_freed.left
        h.sample_freed.left -= <uint32_t>stretch
    h.beat_rest = until_tick - stretch
    h.beat = stretch - 1


cdef inline void heap_beat_break(Heap* h) noexcept nogil:
    # Before another stretch begins in the middle of one: frees that did not happen do not count.
    if h.recording and h.beat >= 0:
        h.sample_freed.left += <uint32_t>(h.beat + 1)


cdef inline void heap_free_chosen(Heap* h, Bin* b, void* p) noexcept nogil:
    # A free has reached the end of its stretch; it goes into the bin, as a fence if it is the chosen one.
    if h.recording and h.sample_freed.left == 0:
        sampler_next(h, &h.sample_freed)
        bin_fence(b, &h.sources[<uint32_t>(b - h.bins)], p)
    else:
        (<void**>p)[0] = b.head
        b.head = p


cdef inline cold_void heap_sample_renew(Heap* h) noexcept nogil:
    # The calling thread follows a recording that has just begun or ended; the others do so at their next tick.
    heap_beat_break(h)
    heap_sample_begin(h)
    heap_beat_begin(h, h.beat_length)
