# The profile: which sizes a program asks for, and how long it keeps them.
# Off, it costs nothing; on, about one request in `profile_every` is followed from malloc to free, and nothing is added
# to the fast paths.
#
#     which request     the one that takes a chosen object out of a bin (heaps/sample.pxd)
#     what it weighs    `every` requests like it
#     where it lies     in a slab (slab.pxd)
#
# A bucket counts the sizes of one step of 16 bytes: as finely as any table of classes can tell. Times are in milliseconds
# since the recording began, of a clock of 4 ms; a life is measured from tick to tick, whose error cancels in the mean.
#
# Everything here is under the profile's lock, but for large requests, which are counted one by one by atomic steps.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.base.atomics cimport rt_add_u64, rt_load_relaxed_u32, rt_store_relaxed_u32
from rtmalloc.core.base.attributes cimport cold_int, cold_void, slow_int, slow_pointer
from rtmalloc.core.base.bitmap cimport rt_highest_bit, rt_lowest_bit
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_map
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.profile.slab cimport slab_list, slab_new, slab_release, slab_unlist
from rtmalloc.core.spans.object cimport object_locate, object_span
from rtmalloc.core.spans.span cimport span_has_free, span_is_whole
from rtmalloc.core.types cimport Allocator, ProfileBucket, ProfileLarge, ProfileRecord, ProfileTables, Span

cdef extern from "profile/heap_tables.h" nogil:
    void rt_heap_freed(void* tables, uint32_t stack, uint64_t bytes, uint64_t life) noexcept
    uint64_t rt_heap_interval(const void* tables) noexcept

cdef enum:
    PROFILE_LARGE_STEPS = 8    # buckets of large requests per doubling


cdef inline uint64_t profile_now(const Allocator* a) noexcept nogil:
    return (a.profile.ended if a.profile.ended else rt_os_clock_ms()) - a.profile.began


cdef inline ProfileBucket* profile_bucket(Allocator* a, size_t bytes) noexcept nogil:
    return &a.profile.tables.small[(bytes + 15) >> 4 if bytes else 1]


cdef inline void* profile_object(Allocator* a, uint32_t class_, ProfileRecord** record) noexcept nogil:
    # Under the lock: an object of a slab and its record, which the caller fills; NULL when there is no memory.
    cdef Span* s = a.profile.slabs[class_]
    cdef uint32_t w = 0
    cdef uint32_t object_
    if s == NULL:
        s = slab_new(a, class_)
    if s == NULL:
        return NULL
    while s.bits[w] == 0:
        w += 1
    object_ = w * 64 + rt_lowest_bit(s.bits[w])
    s.bits[w] &= s.bits[w] - 1
    if not span_has_free(s):
        slab_unlist(a, s)
    record[0] = &(<ProfileRecord*>s.records)[object_]
    return s.base + <size_t>object_ * s.size


cdef inline slow_pointer profile_take(Allocator* a, size_t bytes, uint32_t class_, uint32_t recording) noexcept nogil:
    # An object for a request that was chosen in a recording, which is counted; NULL when that recording is over, or there
    # is no memory. It is not zeroed.
    cdef ProfileBucket* bucket
    cdef ProfileRecord* record = NULL
    cdef uint64_t now
    cdef void* p = NULL
    lock_take(&a.profile.lock)
    if a.profile.recording == recording and not a.profile.of_heap:
        p = profile_object(a, class_, &record)
    if p == NULL:
        lock_drop(&a.profile.lock)
        return NULL
    now = profile_now(a)
    record.begin = now
    record.bytes = <uint32_t>bytes
    record.recording = a.profile.recording
    record.weight = a.profile.every
    bucket = profile_bucket(a, bytes)
    bucket.samples += 1
    bucket.requests += a.profile.every
    bucket.bytes += a.profile.every * bytes
    bucket.live += a.profile.every
    bucket.live_bytes += a.profile.every * bytes
    bucket.life -= a.profile.every * now
    bucket.byte_life -= a.profile.every * now * bytes
    lock_drop(&a.profile.lock)
    return p


cdef inline uint64_t profile_heap_stands(const Allocator* a, uint64_t bytes, bint small) noexcept nogil:
    # Bytes that a block of `bytes`, which a heap profile has chosen, stands for.
    cdef uint64_t interval = rt_heap_interval(a.profile.heap)
    if small and bytes * a.profile.every >= interval:
        return bytes * a.profile.every
    return bytes if bytes >= interval else interval


cdef inline slow_int profile_give(Allocator* a, void* block) noexcept nogil:
    # Free a followed object: 0, or what is wrong: 1 not its start, 2 freed already.
    cdef uint32_t object_ = 0
    cdef Span* s = object_locate(&a.arena, block, &object_)
    cdef ProfileBucket* bucket
    cdef ProfileRecord* record
    cdef uint64_t weight, now
    cdef uint64_t bit = <uint64_t>1 << (object_ & 63)
    cdef bint full
    if s == NULL:
        return 1
    lock_take(&a.profile.lock)
    if s.bits[object_ >> 6] & bit:
        lock_drop(&a.profile.lock)
        return 2
    record = &(<ProfileRecord*>s.records)[object_]
    if record.recording == a.profile.recording and not a.profile.of_heap:
        now = profile_now(a)
        weight = record.weight
        bucket = profile_bucket(a, record.bytes)
        bucket.live -= weight
        bucket.live_bytes -= weight * record.bytes
        bucket.life += weight * now
        bucket.byte_life += weight * now * record.bytes
    elif record.recording == a.profile.recording:
        rt_heap_freed(a.profile.heap, record.stack, profile_heap_stands(a, s.size, True), profile_now(a) - record.begin)
    full = not span_has_free(s)
    s.bits[object_ >> 6] |= bit
    if full:
        slab_list(a, s)
    elif span_is_whole(s) and (s.slab_next != NULL or s.slab_previous != NULL):
        # One whole slab of a class may stay.
        slab_release(a, s)
    lock_drop(&a.profile.lock)
    return 0


cdef inline size_t profile_block_bytes(const Allocator* a, const void* block) noexcept nogil:
    # Usable bytes of a followed object.
    return object_span(&a.arena, arena_slice_of(&a.arena, block)).size


cdef inline uint32_t profile_large_bucket(uint64_t bytes) noexcept nogil:
    # The highest bit and the three below it: eighths of a doubling.
    cdef uint32_t top = rt_highest_bit(bytes)
    return top * PROFILE_LARGE_STEPS + <uint32_t>((bytes >> (top - 3)) & (PROFILE_LARGE_STEPS - 1))


cdef inline void profile_note_large(Allocator* a, size_t bytes) noexcept nogil:
    # A request above the small classes.
    cdef ProfileLarge* bucket
    if rt_load_relaxed_u32(&a.profile.recording) == 0 or rt_load_relaxed_u32(&a.profile.of_heap) or bytes < 8:
        return
    bucket = &a.profile.tables.large[profile_large_bucket(bytes)]
    rt_add_u64(&bucket.requests, 1)
    rt_add_u64(&bucket.bytes, bytes)


# ---- recordings

cdef inline void profile_begin(Allocator* a, uint32_t every, uint32_t of_heap) noexcept nogil:
    # Under the lock: another recording. What was followed before belongs to none any more.
    a.profile.every = every
    a.profile.began = rt_os_clock_ms()
    a.profile.ended = 0
    a.profile.last_recording += 1
    if a.profile.last_recording == 0:
        a.profile.last_recording = 1
    rt_store_relaxed_u32(&a.profile.of_heap, of_heap)
    rt_store_relaxed_u32(&a.profile.recording, a.profile.last_recording)


cdef inline cold_int profile_start(Allocator* a, uint32_t every) noexcept nogil:
    # Begin a recording; what an earlier one counted is forgotten. 0 when there is no memory for it, or a heap profile runs.
    lock_take(&a.profile.lock)
    if a.profile.recording and a.profile.of_heap:
        lock_drop(&a.profile.lock)
        return 0
    if a.profile.tables == NULL:
        a.profile.tables = <ProfileTables*>rt_os_map(sizeof(ProfileTables))
        if a.profile.tables == NULL:
            lock_drop(&a.profile.lock)
            return 0
    memset(a.profile.tables, 0, sizeof(ProfileTables))
    profile_begin(a, every, 0)
    lock_drop(&a.profile.lock)
    return 1


cdef inline cold_void profile_stop(Allocator* a) noexcept nogil:
    # End the recording; its numbers stay until the next one.
    lock_take(&a.profile.lock)
    if a.profile.recording:
        a.profile.ended = rt_os_clock_ms()
        rt_store_relaxed_u32(&a.profile.recording, 0)
    lock_drop(&a.profile.lock)


cdef inline cold_int profile_read(Allocator* a, uint32_t index, ProfileBucket* bucket) noexcept nogil:
    # Bucket `index` of small requests with `life` and `byte_life` up to now; 0 when nobody asked for such sizes.
    cdef uint64_t now
    if a.profile.tables == NULL or a.profile.tables.small[index].samples == 0:
        return 0
    lock_take(&a.profile.lock)
    now = profile_now(a)
    bucket[0] = a.profile.tables.small[index]
    bucket.life += bucket.live * now
    bucket.byte_life += bucket.live_bytes * now
    lock_drop(&a.profile.lock)
    return 1


cdef inline cold_int profile_read_large(Allocator* a, uint32_t index, uint64_t* bucket) noexcept nogil:
    # Bucket `index` of large requests: the least size that it counts, requests, bytes; 0 when nobody asked for such sizes.
    if a.profile.tables == NULL or index < 3 * PROFILE_LARGE_STEPS or a.profile.tables.large[index].requests == 0:
        return 0
    bucket[0] = <uint64_t>(PROFILE_LARGE_STEPS + index % PROFILE_LARGE_STEPS) << (index // PROFILE_LARGE_STEPS - 3)
    bucket[1] = a.profile.tables.large[index].requests
    bucket[2] = a.profile.tables.large[index].bytes
    return 1
