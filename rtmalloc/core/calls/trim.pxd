# The calls that give memory back, and the sized frees.
from rtmalloc.core.alternatives.cpu_heap cimport cpu_heaps_flush
from rtmalloc.core.alternatives.percpu cimport RT_PERCPU_BUILT
from rtmalloc.core.base.config cimport RT_CHECK
from rtmalloc.core.calls.check cimport check_shared
from rtmalloc.core.calls.front cimport rt_free
from rtmalloc.core.calls.malloc_slow cimport malloc_flush_all
from rtmalloc.core.giveback.purge cimport purge_everything
from rtmalloc.core.heaps.heap_pool cimport heaps_flush
from rtmalloc.core.heaps.instance cimport allocator, allocator_open
from rtmalloc.core.heaps.thread cimport thread_heap_or_null
from rtmalloc.core.spans.transfer_cache cimport transfer_drain
from rtmalloc.core.types cimport Allocator


cdef inline void rt_free_sized "rt_free_sized"(void* p, size_t bytes) noexcept nogil:
    rt_free(p)


cdef inline void rt_free_aligned_sized "rt_free_aligned_sized"(void* p, size_t alignment, size_t bytes) noexcept nogil:
    rt_free(p)


cdef inline int rt_trim "rt_trim"(size_t pad) noexcept nogil:
    # malloc_trim: give back what can be given back now, what other threads cache at their next tick; 1 when memory went back
    # to the kernel.
    cdef Allocator* a = allocator()
    if not allocator_open():
        return 0
    heaps_flush(a, thread_heap_or_null())
    if RT_PERCPU_BUILT:
        cpu_heaps_flush(a)
    transfer_drain(&a.transfer, &a.arena.pages, True)
    if RT_CHECK:
        check_shared(a)
    return purge_everything(a)


cdef inline int rt_emergency_flush "rt_emergency_flush"() noexcept nogil:
    # malloc_trim, and what comes home within the next second follows at once. 1 when memory went back to the kernel.
    return malloc_flush_all(thread_heap_or_null()) if allocator_open() else 0
