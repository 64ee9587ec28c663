# malloc and free of the library whose caches are CPUs' (variant percpu).
# A thread without a registration has a heap of its own, and the thread's front. percpu.h has the sequences.
from libc.stdint cimport uint32_t

from cython cimport likely

from rtmalloc.core.alternatives.cpu_calls cimport cpu_free_slow, cpu_malloc_slow
from rtmalloc.core.alternatives.cpu_heap cimport cpu_heaps_serve
from rtmalloc.core.alternatives.cpu_tick cimport cpu_tick
from rtmalloc.core.alternatives.percpu cimport (
    RT_PERCPU_BEATS, RT_PERCPU_DONE, percpu_serves, rt_percpu_pop, rt_percpu_push,
)
from rtmalloc.core.base.attributes cimport inlined_pointer, inlined_void
from rtmalloc.core.base.size_class cimport class_bin_offset
from rtmalloc.core.calls.thread_front cimport thread_front_free, thread_front_malloc
from rtmalloc.core.heaps.tls cimport RT_BINS_OFFSET
from rtmalloc.core.pages.tag cimport BIN_END, tag_code


cdef inline inlined_pointer cpu_front_malloc(size_t bytes) noexcept nogil:
    cdef void* p = rt_percpu_pop(RT_BINS_OFFSET + class_bin_offset(bytes))
    if likely(p != NULL):
        return p
    if cpu_heaps_serve():
        return cpu_malloc_slow(bytes)
    return thread_front_malloc(bytes)


cdef inline inlined_void cpu_front_free(uint32_t tag, void* p) noexcept nogil:
    # Of whatever slot: the bins of a CPU hold objects, and are not asked whose they are.
    cdef int answer
    if likely(tag_code(tag) < BIN_END):
        answer = rt_percpu_push(p, RT_BINS_OFFSET + tag_code(tag))
        if likely(answer == RT_PERCPU_DONE):
            return
        if answer == RT_PERCPU_BEATS:
            cpu_tick()
            return
    if percpu_serves():
        cpu_free_slow(p)
    else:
        thread_front_free(tag, p)
