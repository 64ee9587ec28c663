# Caches per CPU instead of per thread: whether the process has the means (variant percpu).
# In the default library RT_PERCPU_BUILT is 0 and all of it folds away. percpu.h has the sequences.
#
# On when the process's threads have glibc's registration with the kernel, and the kernel can abort other threads' sequences
# (Linux 5.10). Otherwise, and for a single thread without one, everything is as in the default library: heaps of threads.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64, rt_store_relaxed_u64
from rtmalloc.core.base.platform cimport rt_os_sequences_abort, rt_os_sequences_prepare

cdef extern from "alternatives/percpu.h" nogil:
    enum:
        RT_PERCPU_BUILT
        RT_PERCPU_BEAT
        RT_PERCPU_LIMIT
        RT_PERCPU_DONE
        RT_PERCPU_BEATS
        RT_PERCPU_FULL
        RT_CPUS
    ctypedef struct rt_percpu_state:
        int64_t offset
        void* heaps[]
        void* homes[]
        uint64_t aborts
    rt_percpu_state rt_percpu
    int64_t rt_percpu_find() noexcept
    uint32_t rt_percpu_cpu() noexcept
    void* rt_percpu_pop(size_t bin) noexcept
    int rt_percpu_push(void* p, size_t bin) noexcept
    uint32_t rt_percpu_put(void* heap, size_t bin, void** source, uint64_t count) noexcept
    uint32_t rt_percpu_take(void* heap, size_t bin, void** target, uint64_t count) noexcept

cdef enum:
    CACHES_THREAD = 0          # the default library: caches are threads'
    CACHES_CPU = 1             # they are CPUs'
    CACHES_NO_RSEQ = 2         # the per-CPU library, but the process lacks the means: threads'


cdef inline bint percpu_serves() noexcept nogil:
    # Whether the calling thread works with the caches of CPUs.
    return RT_PERCPU_BUILT and rt_percpu_cpu() < RT_CPUS


cdef inline uint32_t percpu_mode() noexcept nogil:
    # CACHES_*, once the allocator is open.
    if not RT_PERCPU_BUILT:
        return CACHES_THREAD
    return CACHES_CPU if rt_load_relaxed_u64(<uint64_t*>&rt_percpu.offset) else CACHES_NO_RSEQ


cdef inline void percpu_enable() noexcept nogil:
    # Turn the mode on if it can be had; the allocator is otherwise open. The offset is written once, and last. Registered
    # now, while the process is likely to have one thread: then it is cheap.
    if RT_PERCPU_BUILT and rt_percpu_find() and rt_os_sequences_prepare() == 0 and rt_os_sequences_abort(0) == 0:
        rt_store_relaxed_u64(<uint64_t*>&rt_percpu.offset, <uint64_t>rt_percpu_find())
