# The profile: which sizes a program asks for, and how long it keeps them. Off, it costs nothing; on, about one request in
# `profile_every` is followed from malloc to free, and nothing is added to the fast paths.
#
#     which request     the one that takes a chosen object out of a bin (sample.pxd); chosen before anybody asks for it
#     what it weighs    `every` requests like it
#     where it lies     in a slab of its own kind (tag TAG_SAMPLED), so that whoever frees it comes by here
#
# A bucket counts the sizes of one step of 16 bytes: as finely as any table of classes can tell. Times are in milliseconds
# since the recording began, of a clock of 4 ms; a life is measured from tick to tick, whose error cancels in the mean.
#
#     life = sum over the bucket's objects of weight * (end - begin), where end = 0 while the object lives (modulo 2**64)
#     so:  object milliseconds until now = life + live * now
#
# Everything here is under the profile's lock, but for large requests, which are counted one by one by atomic steps.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.pages.arena cimport Arena, arena_slice_of, arena_span_new
from rtmalloc.core.base.atomics cimport rt_add_u64, rt_load_relaxed_u32, rt_store_relaxed_u32
from rtmalloc.core.base.attributes cimport cold_int, cold_void, slow_int, slow_pointer
from rtmalloc.core.base.bitmap cimport rt_highest_bit, rt_lowest_bit
from rtmalloc.core.base.lock cimport Lock, lock_drop, lock_take
from rtmalloc.core.spans.object cimport object_locate, span_of
from rtmalloc.core.pages.page_heap cimport SLICE_NONE, page_heap_give, page_heap_take
from rtmalloc.core.pages.pagemap cimport TAG_SAMPLED, tag_set
from rtmalloc.core.base.platform cimport rt_os_clock_ms, rt_os_map, rt_os_unmap
from rtmalloc.core.base.size_class cimport RT_CLASSES_MOST, RT_SLICE_BYTES, rt_class_size
from rtmalloc.core.spans.span cimport Span, span_form, span_has_free, span_is_whole

cdef enum:
    PROFILE_SMALL = 2049       # buckets: [n] counts requests of 16 * n - 15 to 16 * n bytes (0 bytes: [1])
    PROFILE_LARGE_STEPS = 8    # buckets of large requests per doubling
    PROFILE_LARGE = 512        # ... of 64 bits
    SLAB_OBJECTS = 4           # at least so many in a slab

cdef struct ProfileBucket:
    # Weighted, that is in requests of the program, but for `samples`.
    uint64_t samples           # requests followed
    uint64_t requests
    uint64_t bytes             # that they asked for
    uint64_t live              # of them, not freed
    uint64_t live_bytes
    uint64_t life              # milliseconds, see above
    uint64_t byte_life         # the same of bytes

cdef struct ProfileLarge:
    uint64_t requests          # all of them, none twice
    uint64_t bytes

cdef struct ProfileRecord:
    # An object that is followed.
    uint64_t begin             # milliseconds
    uint32_t bytes
    uint32_t recording         # the one that follows it
    uint32_t weight
    uint32_t padding

cdef struct ProfileTables:
    ProfileBucket small[PROFILE_SMALL]
    ProfileLarge large[PROFILE_LARGE]

cdef struct Profile:
    Lock lock
    uint32_t recording         # number of the present recording; 0 = none. Read without the lock
    uint32_t last_recording
    uint32_t every             # of the present recording, or the last one
    uint64_t began             # clock
    uint64_t ended             # clock; 0 while it runs
    ProfileTables* tables      # mapped by the first recording
    Span* slabs[RT_CLASSES_MOST]   # by class: those with free objects, linked by own_next


# ---- slabs: one class, one lock, records beside the objects

cdef inline size_t slab_record_bytes(const Span* s) noexcept nogil:
    return s.objects * sizeof(ProfileRecord)


cdef inline Span* slab_new(Profile* p, Arena* a, uint32_t class_) noexcept nogil:
    cdef uint32_t slices = 1
    cdef uint32_t slice
    cdef void* records
    cdef Span* s
    while slices * RT_SLICE_BYTES < SLAB_OBJECTS * rt_class_size[class_]:
        slices *= 2
    slice = page_heap_take(&a.pages, slices)
    if slice == SLICE_NONE:
        return NULL
    records = rt_os_map(slices * RT_SLICE_BYTES // rt_class_size[class_] * sizeof(ProfileRecord))
    if records == NULL:
        page_heap_give(&a.pages, slice, slices)
        return NULL
    s = arena_span_new(a, slice, slices)
    s.records = records
    span_form(s, slices, rt_class_size[class_], <uint8_t>class_, False)
    tag_set(a, slice, slices, TAG_SAMPLED)
    slab_list(p, s)
    return s


cdef inline void slab_release(Profile* p, Arena* a, Span* s) noexcept nogil:
    # A whole slab leaves the list and goes back.
    cdef uint32_t slice = s.index
    cdef uint32_t slices = s.slices
    slab_unlist(p, s)
    rt_os_unmap(s.records, slab_record_bytes(s))
    memset(s.bits, 0, s.words * sizeof(uint64_t))
    tag_set(a, slice, slices, 0)
    page_heap_give(&a.pages, slice, slices)


cdef inline void slab_unlist(Profile* p, Span* s) noexcept nogil:
    if s.own_previous != NULL:
        s.own_previous.own_next = s.own_next
    else:
        p.slabs[s.class_] = s.own_next
    if s.own_next != NULL:
        s.own_next.own_previous = s.own_previous


cdef inline void slab_list(Profile* p, Span* s) noexcept nogil:
    s.own_previous = NULL
    s.own_next = p.slabs[s.class_]
    if s.own_next != NULL:
        s.own_next.own_previous = s
    p.slabs[s.class_] = s


# ---- requests

cdef inline uint64_t profile_now(const Profile* p) noexcept nogil:
    return (p.ended if p.ended else rt_os_clock_ms()) - p.began


cdef inline ProfileBucket* profile_bucket(Profile* p, size_t bytes) noexcept nogil:
    return &p.tables.small[(bytes + 15) >> 4 if bytes else 1]


cdef inline slow_pointer profile_take(
    Profile* p, Arena* a, size_t bytes, uint32_t class_, uint32_t recording
) noexcept nogil:
    # An object for a request that was chosen in a recording, which is counted; NULL when that recording is over, or there
    # is no memory. It is not zeroed.
    cdef ProfileBucket* bucket
    cdef ProfileRecord* record
    cdef Span* s
    cdef uint64_t now
    cdef uint32_t w = 0
    cdef uint32_t object_
    lock_take(&p.lock)
    s = p.slabs[class_]
    if p.recording != recording or (s == NULL and slab_new(p, a, class_) == NULL):
        lock_drop(&p.lock)
        return NULL
    s = p.slabs[class_]
    while s.bits[w] == 0:
        w += 1
    object_ = w * 64 + rt_lowest_bit(s.bits[w])
    s.bits[w] &= s.bits[w] - 1
    if not span_has_free(s):
        slab_unlist(p, s)
    now = profile_now(p)
    record = &(<ProfileRecord*>s.records)[object_]
    record.begin = now
    record.bytes = <uint32_t>bytes
    record.recording = p.recording
    record.weight = p.every
    bucket = profile_bucket(p, bytes)
    bucket.samples += 1
    bucket.requests += p.every
    bucket.bytes += p.every * bytes
    bucket.live += p.every
    bucket.live_bytes += p.every * bytes
    bucket.life -= p.every * now
    bucket.byte_life -= p.every * now * bytes
    lock_drop(&p.lock)
    return s.base + <size_t>object_ * s.size


cdef inline slow_int profile_give(Profile* p, Arena* a, void* block) noexcept nogil:
    # Free a followed object: 0, or what is wrong: 1 not its start, 2 freed already.
    cdef uint32_t object_ = 0
    cdef Span* s = object_locate(a, block, &object_)
    cdef ProfileBucket* bucket
    cdef ProfileRecord* record
    cdef uint64_t weight, now
    cdef uint64_t bit = <uint64_t>1 << (object_ & 63)
    cdef bint full
    if s == NULL:
        return 1
    lock_take(&p.lock)
    if s.bits[object_ >> 6] & bit:
        lock_drop(&p.lock)
        return 2
    record = &(<ProfileRecord*>s.records)[object_]
    if record.recording == p.recording:
        now = profile_now(p)
        weight = record.weight
        bucket = profile_bucket(p, record.bytes)
        bucket.live -= weight
        bucket.live_bytes -= weight * record.bytes
        bucket.life += weight * now
        bucket.byte_life += weight * now * record.bytes
    full = not span_has_free(s)
    s.bits[object_ >> 6] |= bit
    if full:
        slab_list(p, s)
    elif span_is_whole(s) and (s.own_next != NULL or s.own_previous != NULL):
        # One whole slab of a class may stay.
        slab_release(p, a, s)
    lock_drop(&p.lock)
    return 0


cdef inline size_t profile_block_bytes(const Arena* a, const void* block) noexcept nogil:
    # Usable bytes of a followed object.
    return span_of(a, arena_slice_of(a, block)).size


cdef inline uint32_t profile_large_bucket(uint64_t bytes) noexcept nogil:
    # The highest bit and the three below it: eighths of a doubling.
    cdef uint32_t top = rt_highest_bit(bytes)
    return top * PROFILE_LARGE_STEPS + <uint32_t>((bytes >> (top - 3)) & (PROFILE_LARGE_STEPS - 1))


cdef inline void profile_note_large(Profile* p, size_t bytes) noexcept nogil:
    # A request above the small classes.
    cdef ProfileLarge* bucket
    if rt_load_relaxed_u32(&p.recording) == 0 or bytes < 8:
        return
    bucket = &p.tables.large[profile_large_bucket(bytes)]
    rt_add_u64(&bucket.requests, 1)
    rt_add_u64(&bucket.bytes, bytes)


# ---- recordings

cdef inline cold_int profile_start(Profile* p, uint32_t every) noexcept nogil:
    # Begin a recording; what an earlier one counted is forgotten. 0 when there is no memory for it.
    lock_take(&p.lock)
    if p.tables == NULL:
        p.tables = <ProfileTables*>rt_os_map(sizeof(ProfileTables))
        if p.tables == NULL:
            lock_drop(&p.lock)
            return 0
    memset(p.tables, 0, sizeof(ProfileTables))
    p.every = every
    p.began = rt_os_clock_ms()
    p.ended = 0
    p.last_recording += 1
    if p.last_recording == 0:
        p.last_recording = 1
    rt_store_relaxed_u32(&p.recording, p.last_recording)
    lock_drop(&p.lock)
    return 1


cdef inline cold_void profile_stop(Profile* p) noexcept nogil:
    # End the recording; its numbers stay until the next one.
    lock_take(&p.lock)
    if p.recording:
        p.ended = rt_os_clock_ms()
        rt_store_relaxed_u32(&p.recording, 0)
    lock_drop(&p.lock)


cdef inline cold_void profile_fork_child(Profile* p) noexcept nogil:
    # A fork child counts from now on: what was before is its parent's to tell, and what lived then stays uncounted.
    if p.recording:
        profile_start(p, p.every)


cdef inline cold_int profile_read(Profile* p, uint32_t index, ProfileBucket* bucket) noexcept nogil:
    # Bucket `index` of small requests with `life` and `byte_life` up to now; 0 when nobody asked for such sizes.
    cdef uint64_t now
    if p.tables == NULL or p.tables.small[index].samples == 0:
        return 0
    lock_take(&p.lock)
    now = profile_now(p)
    bucket[0] = p.tables.small[index]
    bucket.life += bucket.live * now
    bucket.byte_life += bucket.live_bytes * now
    lock_drop(&p.lock)
    return 1


cdef inline cold_int profile_read_large(Profile* p, uint32_t index, uint64_t* bucket) noexcept nogil:
    # Bucket `index` of large requests: the least size that it counts, requests, bytes; 0 when nobody asked for such sizes.
    if p.tables == NULL or index < 3 * PROFILE_LARGE_STEPS or p.tables.large[index].requests == 0:
        return 0
    bucket[0] = <uint64_t>(PROFILE_LARGE_STEPS + index % PROFILE_LARGE_STEPS) << (index // PROFILE_LARGE_STEPS - 3)
    bucket[1] = p.tables.large[index].requests
    bucket[2] = p.tables.large[index].bytes
    return 1
