# The table of calls that the preload library exports and the Python face uses (api.h).
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from rtmalloc.core.atomics cimport rt_load_relaxed_u32
from rtmalloc.core.entry cimport (
    heap_or_null, realloc_nonzero, rt_calloc, rt_emergency_flush, rt_free, rt_malloc, rt_trim,
)
from rtmalloc.core.hooks cimport hook_is_ours, hooks_active, hooks_pause, hooks_set
from rtmalloc.core.options cimport OPTION_UNKNOWN, RT_OPTION_COUNT, option_set
from rtmalloc.core.pressure cimport pressure_alarm, pressure_listen, rt_pressure_source
from rtmalloc.core.stats cimport ClassStats, Stats, stats_gather
from rtmalloc.core.thread cimport Allocator, allocator, allocator_open

cdef extern from "api.h" nogil:
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
        void (*stats)(void*, void*) noexcept nogil
        int (*option_set)(int, int64_t) noexcept nogil
        int64_t (*option_get)(int) noexcept nogil
        int (*hooks_set)(uint32_t) noexcept nogil
        uint32_t (*hooks_active)() noexcept nogil
        int (*hooks_pause)(int) noexcept nogil
        const char* (*location)() noexcept nogil
        int (*emergency_flush)() noexcept nogil
        int (*pressure_alarm)() noexcept nogil
        void (*pressure_listen)(const void*) noexcept nogil
        uint32_t (*pressure_watched)() noexcept nogil
    const rt_api* rt_api_preloaded() noexcept
    const char* rt_file_of(const void* address) noexcept
    rt_api rt_api_own


cdef inline int api_owns(const void* p) noexcept nogil:
    # Whether `p` points to (or into) a block of this allocator; any pointer may be asked about.
    return hook_is_ours(p)


cdef inline int api_trim() noexcept nogil:
    return rt_trim(0)


cdef inline void api_stats(void* stats, void* classes) noexcept nogil:
    if allocator_open():
        stats_gather(allocator(), <Stats*>stats, <ClassStats*>classes)


cdef inline int api_option_set(int number, int64_t value) noexcept nogil:
    if number < 0 or number >= RT_OPTION_COUNT:
        return OPTION_UNKNOWN
    return option_set(&allocator().store.options, number, value)


cdef inline int64_t api_option_get(int number) noexcept nogil:
    return allocator().store.options.value[number]


cdef inline int api_hooks_set(uint32_t domains) noexcept nogil:
    return hooks_set(domains)


cdef inline int api_hooks_pause(int paused) noexcept nogil:
    return hooks_pause(paused != 0)


cdef inline const char* api_location() noexcept nogil:
    return rt_file_of(&rt_api_own)


cdef inline int api_pressure_alarm() noexcept nogil:
    cdef Allocator* a = allocator()
    return pressure_alarm(&a.store, &a.purge, &a.pressure, heap_or_null()) if allocator_open() else 0


cdef inline void api_pressure_listen(const void* wake) noexcept nogil:
    pressure_listen(&allocator().pressure, <const rt_pressure_source*>wake)


cdef inline uint32_t api_pressure_watched() noexcept nogil:
    return rt_load_relaxed_u32(&allocator().background.watched)


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
        a.emergency_flush = rt_emergency_flush
        a.pressure_alarm = api_pressure_alarm
        a.pressure_listen = api_pressure_listen
        a.pressure_watched = api_pressure_watched
        a.bytes = sizeof(rt_api)
        a.version = RT_API_VERSION
    return a
