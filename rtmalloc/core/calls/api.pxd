# The table of calls that the preload library exports and the Python face uses (api.h).
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.alternatives.percpu cimport percpu_mode
from rtmalloc.core.base._numbers cimport ClassStats, HeapCounters, HeapStats, Stats
from rtmalloc.core.base._options cimport (
    RT_OPTION_COUNT, RT_OPTION_background_thread, RT_OPTION_heap_profile, RT_OPTION_heap_profile_interval,
    RT_OPTION_memory_limit, RT_OPTION_profile, RT_OPTION_profile_every,
)
from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_store_relaxed_u64, rt_store_release_pointer
from rtmalloc.core.base.options cimport OPTION_OUT_OF_RANGE, OPTION_UNKNOWN, option_set
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size
from rtmalloc.core.base.table_file cimport rt_table_name
from rtmalloc.core.calls.block cimport block_is_ours
from rtmalloc.core.calls.calloc cimport rt_calloc
from rtmalloc.core.calls.front cimport rt_free, rt_malloc
from rtmalloc.core.calls.heap_dump cimport heap_dump, heap_dump_done, heap_dump_to
from rtmalloc.core.calls.hooks cimport hooks_active, hooks_pause, hooks_set
from rtmalloc.core.calls.realloc cimport realloc_nonzero
from rtmalloc.core.calls.stats cimport stats_gather, stats_of_heaps
from rtmalloc.core.calls.trim cimport rt_emergency_flush, rt_trim
from rtmalloc.core.giveback.background cimport background_stop
from rtmalloc.core.giveback.pressure cimport pressure_alarm, pressure_listen
from rtmalloc.core.heaps.instance cimport allocator, allocator_open
from rtmalloc.core.heaps.sample cimport sample_renew
from rtmalloc.core.heaps.thread cimport heap_is_real, thread_heap, thread_heap_or_null
from rtmalloc.core.profile.heap_profile cimport (
    heap_profile_is_on, heap_profile_start, rt_python_walker, rt_unwind_open,
)
from rtmalloc.core.profile.profile cimport profile_now, profile_read, profile_read_large, profile_start, profile_stop
from rtmalloc.core.types cimport PROFILE_LARGE, PROFILE_SMALL, Allocator, Options, ProfileBucket, rt_pressure_source

cdef extern from "calls/api.h" nogil:
    enum:
        RT_API_VERSION
    ctypedef struct rt_api:
        uint32_t version
        uint32_t bytes
        void* (*malloc)(size_t) noexcept nogil
        void* (*calloc)(size_t, size_t) noexcept nogil
        void* (*realloc)(void*, size_t) noexcept nogil
        void (*free)(void*) noexcept nogil
        int (*owns)(const void*) noexcept nogil
        int (*trim)() noexcept nogil
        void (*stats)(void*, void*, void*) noexcept nogil
        int (*option_set)(int, int64_t) noexcept nogil
        int64_t (*option_get)(int) noexcept nogil
        int (*hooks_set)(uint32_t) noexcept nogil
        uint32_t (*hooks_active)() noexcept nogil
        int (*hooks_pause)(int) noexcept nogil
        const char* (*location)() noexcept nogil
        uint32_t (*class_size)(uint32_t) noexcept nogil
        const char* (*table_name)() noexcept nogil
        int (*profile_start)(uint32_t) noexcept nogil
        void (*profile_stop)() noexcept nogil
        void (*profile_state)(uint64_t*) noexcept nogil
        int (*profile_small)(uint32_t, void*) noexcept nogil
        int (*profile_large)(uint32_t, uint64_t*) noexcept nogil
        int (*emergency_flush)() noexcept nogil
        int (*pressure_alarm)() noexcept nogil
        void (*pressure_listen)(const void*) noexcept nogil
        uint32_t (*pressure_watched)() noexcept nogil
        uint32_t (*heaps)(void*, void*, uint32_t) noexcept nogil
        int (*caches)() noexcept nogil
        int (*heap_dump)(int) noexcept nogil
        void (*heap_finish)() noexcept nogil
        void (*python_walk)(const void*) noexcept nogil
    const rt_api* rt_api_preloaded() noexcept
    const char* rt_file_of(const void* address) noexcept
    rt_api rt_api_own


cdef inline int api_owns(const void* p) noexcept nogil:
    return block_is_ours(p)


cdef inline int api_trim() noexcept nogil:
    return rt_trim(0)


cdef inline void api_stats(void* stats, void* counters, void* classes) noexcept nogil:
    if allocator_open():
        stats_gather(allocator(), <Stats*>stats, <HeapCounters*>counters, <ClassStats*>classes)


cdef inline uint32_t api_heaps(void* of, void* counters, uint32_t most) noexcept nogil:
    return stats_of_heaps(allocator(), <HeapStats*>of, <HeapCounters*>counters, most) if allocator_open() else 0


cdef inline int api_option_set(int number, int64_t value) noexcept nogil:
    cdef Allocator* a = allocator()
    cdef Options* options = &a.options
    if number < 0 or number >= RT_OPTION_COUNT:
        return OPTION_UNKNOWN
    if number == RT_OPTION_profile and value == 1 and options.value[RT_OPTION_profile] == 0:
        return 0 if api_profile_start(<uint32_t>options.value[RT_OPTION_profile_every]) else OPTION_OUT_OF_RANGE
    if number == RT_OPTION_heap_profile and value == 1 and options.value[RT_OPTION_heap_profile] == 0:
        return 0 if api_heap_start() else OPTION_OUT_OF_RANGE
    if value == 0 and number == (RT_OPTION_heap_profile if heap_profile_is_on(a) else RT_OPTION_profile):
        profile_stop(a)
    if option_set(options, number, value) != 0:
        return OPTION_OUT_OF_RANGE
    if number == RT_OPTION_memory_limit:
        # The control group is asked anew.
        rt_store_relaxed_u64(&a.limit.read_at, 0)
    if number == RT_OPTION_background_thread and value == 0:
        background_stop(a)
    return 0


cdef inline int64_t api_option_get(int number) noexcept nogil:
    return allocator().options.value[number]


cdef inline int api_hooks_set(uint32_t domains) noexcept nogil:
    return hooks_set(domains)


cdef inline int api_hooks_pause(int paused) noexcept nogil:
    return hooks_pause(paused != 0)


cdef inline const char* api_location() noexcept nogil:
    return rt_file_of(&rt_api_own)


cdef inline uint32_t api_class_size(uint32_t number) noexcept nogil:
    return rt_class_size[number] if number < rt_class_count else 0


cdef inline const char* api_table_name() noexcept nogil:
    return rt_table_name


cdef inline void api_recording_begun() noexcept nogil:
    # The caller's choices begin at once, those of other threads at their next tick.
    if heap_is_real(thread_heap()):
        sample_renew(thread_heap())


cdef inline int api_profile_start(uint32_t every) noexcept nogil:
    if not allocator_open() or not profile_start(allocator(), every):
        return 0
    allocator().options.value[RT_OPTION_profile] = 1
    api_recording_begun()
    return 1


cdef inline void api_profile_stop() noexcept nogil:
    profile_stop(allocator())
    allocator().options.value[RT_OPTION_profile] = 0


cdef inline void api_profile_state(uint64_t* state) noexcept nogil:
    cdef Allocator* a = allocator()
    state[0] = a.profile.recording != 0
    state[1] = a.profile.every
    state[2] = profile_now(a) if a.profile.tables != NULL else 0
    state[3] = PROFILE_SMALL
    state[4] = PROFILE_LARGE


cdef inline int api_profile_small(uint32_t i, void* bucket) noexcept nogil:
    return profile_read(allocator(), i, <ProfileBucket*>bucket)


cdef inline int api_profile_large(uint32_t i, uint64_t* bucket) noexcept nogil:
    return profile_read_large(allocator(), i, bucket)


cdef inline int api_heap_start() noexcept nogil:
    # By configure(heap_profile=1).
    cdef Options* options = &allocator().options
    if not allocator_open():
        return 0
    rt_unwind_open()
    if not heap_profile_start(allocator(), <uint64_t>options.value[RT_OPTION_heap_profile_interval]):
        return 0
    options.value[RT_OPTION_heap_profile] = 1
    options.value[RT_OPTION_profile] = 0
    api_recording_begun()
    return 1


cdef inline int api_heap_dump(int file) noexcept nogil:
    return heap_dump_to(allocator(), file) if allocator_open() and heap_profile_is_on(allocator()) else 1


cdef inline void api_heap_finish() noexcept nogil:
    heap_dump(allocator())
    heap_dump_done()


cdef inline void api_python_walk(const void* walk) noexcept nogil:
    rt_store_release_pointer(<void**>&rt_python_walker, <void*>walk)


cdef inline int api_pressure_alarm() noexcept nogil:
    return pressure_alarm(allocator(), thread_heap_or_null()) if allocator_open() else 0


cdef inline void api_pressure_listen(const void* wake) noexcept nogil:
    pressure_listen(allocator(), <const rt_pressure_source*>wake)


cdef inline uint32_t api_pressure_watched() noexcept nogil:
    return rt_load_relaxed_u32(&allocator().background.watched)


cdef inline int api_caches() noexcept nogil:
    # (Of an allocator that cannot be opened there is nothing to tell.)
    allocator_open()
    return percpu_mode()


cdef inline const rt_api* api_table "rt_api_table"() noexcept nogil:
    # This library's own table, filled in by its first use.
    cdef rt_api* a = &rt_api_own
    if a.version == 0:
        a.malloc = rt_malloc
        a.calloc = rt_calloc
        a.realloc = realloc_nonzero
        a.free = rt_free
        a.owns = api_owns
        a.trim = api_trim
        a.stats = api_stats
        a.option_set = api_option_set
        a.option_get = api_option_get
        a.hooks_set = api_hooks_set
        a.hooks_active = hooks_active
        a.hooks_pause = api_hooks_pause
        a.location = api_location
        a.class_size = api_class_size
        a.table_name = api_table_name
        a.profile_start = api_profile_start
        a.profile_stop = api_profile_stop
        a.profile_state = api_profile_state
        a.profile_small = api_profile_small
        a.profile_large = api_profile_large
        a.emergency_flush = rt_emergency_flush
        a.pressure_alarm = api_pressure_alarm
        a.pressure_listen = api_pressure_listen
        a.pressure_watched = api_pressure_watched
        a.heaps = api_heaps
        a.caches = api_caches
        a.heap_dump = api_heap_dump
        a.heap_finish = api_heap_finish
        a.python_walk = api_python_walk
        a.bytes = sizeof(rt_api)
        a.version = RT_API_VERSION
    return a
