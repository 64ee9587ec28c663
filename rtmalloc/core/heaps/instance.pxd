# The one instance of the allocator, and how it is opened: by whatever call comes first.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.alternatives.percpu cimport percpu_enable
from rtmalloc.core.base._options cimport (
    RT_OPTION_address_order, RT_OPTION_heap_profile, RT_OPTION_heap_profile_interval, RT_OPTION_profile,
    RT_OPTION_profile_every, RT_OPTION_segments,
)
from rtmalloc.core.base.atomics cimport rt_load_acquire_u32, rt_store_release_u32
from rtmalloc.core.base.attributes cimport RT_STATIC_ASSERT, cold_int, cold_void
from rtmalloc.core.base.complain cimport complain
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.options cimport (
    PATH_BYTES, options_preset, options_read, rt_environment_get, rt_environment_is_ready,
)
from rtmalloc.core.base.platform cimport rt_os_process_id
from rtmalloc.core.base.table_file cimport table_load, table_seal
from rtmalloc.core.heaps.tls cimport (
    RT_ALLOCATOR_BYTES, RT_BINS_OFFSET, RT_BIN_COUNT, rt_allocator_storage, rt_fork_register,
)
from rtmalloc.core.pages.arena cimport arena_page_slices
from rtmalloc.core.pages.reservation cimport reservation_open
from rtmalloc.core.pages.tables cimport tables_open_run
from rtmalloc.core.profile.heap_profile cimport heap_profile_start
from rtmalloc.core.profile.profile cimport profile_start
from rtmalloc.core.profile.profile_file cimport profile_file_keep, profile_file_open, rt_heap_directory
from rtmalloc.core.spans.slot cimport slots_open
from rtmalloc.core.types cimport CLASSES_MOST, Allocator, Heap


cdef inline Allocator* allocator() noexcept nogil:
    # The one instance of this library.
    return <Allocator*>rt_allocator_storage


cdef inline cold_void allocator_read_environment(Allocator* a) noexcept nogil:
    # The options, and with them the table of size classes.
    cdef const char* text
    cdef char config[PATH_BYTES]
    config[0] = 0
    options_preset(&a.options)
    if rt_environment_is_ready():
        text = rt_environment_get(b"RTMALLOC_OPTIONS")
        if text != NULL:
            options_read(&a.options, text, config)
    if profile_file_open():
        a.options.value[RT_OPTION_profile] = 1
    if profile_file_keep(rt_heap_directory, b"RTMALLOC_HEAP_PROFILE"):
        a.options.value[RT_OPTION_heap_profile] = 1
    # Once: an earlier attempt to open may have failed behind this point.
    if not a.table_read:
        a.table_read = 1
        if config[0]:
            table_load(config)
        table_seal()


cdef inline cold_int allocator_open_parts(Allocator* a) noexcept nogil:
    # Under the lock: 1 when everything is there. What a failed attempt got is kept for the next one.
    allocator_read_environment(a)
    if a.arena.base == NULL and not reservation_open(&a.arena):
        return 0
    a.arena.options = &a.options
    a.background.process = rt_os_process_id()
    if not a.options.value[RT_OPTION_segments] and arena_page_slices(&a.arena) == 1:
        a.arena.pages.run_hook = tables_open_run
    a.arena.pages.address_order = &a.options.value[RT_OPTION_address_order]
    if not slots_open(a):
        return 0
    if a.options.value[RT_OPTION_heap_profile]:
        heap_profile_start(a, <uint64_t>a.options.value[RT_OPTION_heap_profile_interval])
        if a.options.value[RT_OPTION_profile]:
            complain(b"RTMALLOC_OPTIONS", b"profile", b"a heap profile is recorded, which excludes it")
    elif a.options.value[RT_OPTION_profile]:
        profile_start(a, <uint32_t>a.options.value[RT_OPTION_profile_every])
    percpu_enable()
    return 1


cdef inline cold_int allocator_open() noexcept nogil:
    # Set the allocator up if it is not; 1, or 0 when there is no address space for it. Uses nothing that allocates.
    cdef Allocator* a = allocator()
    cdef bint opened = False
    RT_STATIC_ASSERT(sizeof(Allocator) <= RT_ALLOCATOR_BYTES)
    RT_STATIC_ASSERT(RT_BIN_COUNT == CLASSES_MOST)
    RT_STATIC_ASSERT(<size_t>&(<Heap*>NULL).bins == RT_BINS_OFFSET)
    if rt_load_acquire_u32(&a.ready):
        return 1
    lock_take(&a.opening)
    if not a.ready and allocator_open_parts(a):
        rt_store_release_u32(&a.ready, 1)
        opened = True
    lock_drop(&a.opening)
    if opened:
        # May allocate: everything works by now.
        rt_fork_register()
    return rt_load_acquire_u32(&a.ready)
