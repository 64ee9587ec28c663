# Caches per CPU instead of per thread: the mode, and a bin's word as percpu.h's sequences know it. A compile-time variant
# (RT_PERCPU=1) of the library; in the default one RT_PERCPU_BUILT is 0 and all of it folds away.
#
# On when the process's threads have glibc's registration with the kernel. Otherwise, and for a single thread without one,
# everything is as in the default library: heaps of threads.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64, rt_store_relaxed_u64
from rtmalloc.core.base.platform cimport rt_os_sequences_prepare

cdef extern from "heaps/percpu.h" nogil:
    enum:
        RT_PERCPU_BUILT
        RT_PERCPU_BEAT
        RT_PERCPU_LENGTH
        RT_PERCPU_COUNT_SHIFT
        RT_PERCPU_DONE
        RT_PERCPU_BEATS
        RT_PERCPU_FULL
        RT_PERCPU_CHANGED
        RT_PERCPU_ELSEWHERE
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
    int rt_percpu_swap(uint32_t cpu, void* heap, uint64_t* word, uint64_t seen, uint64_t next) noexcept

cdef enum:
    CACHES_THREAD = 0          # the default library: caches are threads'
    CACHES_CPU = 1             # they are CPUs'
    CACHES_NO_RSEQ = 2         # the per-CPU library, but the process has no registration: threads'


cdef inline bint percpu_serves() noexcept nogil:
    # Whether the calling thread works with the caches of CPUs.
    return RT_PERCPU_BUILT and rt_percpu_cpu() < RT_CPUS


cdef inline uint32_t percpu_mode() noexcept nogil:
    # CACHES_*, once the allocator is open.
    if not RT_PERCPU_BUILT:
        return CACHES_THREAD
    return CACHES_CPU if rt_load_relaxed_u64(<uint64_t*>&rt_percpu.offset) else CACHES_NO_RSEQ


cdef inline void percpu_enable(size_t arena_end) noexcept nogil:
    # Turn the mode on if it can be had; the allocator is otherwise open. `arena_end` is the end of all addresses that bins
    # may hold. The offset is written once, and last: who reads it reads nothing else before.
    if RT_PERCPU_BUILT and arena_end >> RT_PERCPU_COUNT_SHIFT == 0 and rt_percpu_find():
        # Asked for now, while the process is likely to have one thread: then it is cheap.
        rt_os_sequences_prepare()
        rt_store_relaxed_u64(<uint64_t*>&rt_percpu.offset, <uint64_t>rt_percpu_find())


# ---- a bin's word: object | count << 48

cdef inline void* word_object(uint64_t word) noexcept nogil:
    return <void*>(word & ((<uint64_t>1 << RT_PERCPU_COUNT_SHIFT) - 1))


cdef inline uint32_t word_count(uint64_t word) noexcept nogil:
    return <uint32_t>(word >> RT_PERCPU_COUNT_SHIFT)


cdef inline uint64_t word_on_top(void* chain, uint32_t count, uint64_t below) noexcept nogil:
    # The word of a bin that has `count` objects, linked by plain addresses, on top of those that `below` stands for. Writes
    # the links.
    cdef uint64_t word = <uint64_t>chain | <uint64_t>(word_count(below) + count) << RT_PERCPU_COUNT_SHIFT
    cdef uint64_t top = word_count(below) + count
    cdef void** p = <void**>chain
    cdef void* rest
    cdef uint32_t i
    for i in range(count):
        top -= 1
        rest = <void*>word_object(<uint64_t>p[0])
        p[0] = <void*>(<uint64_t>rest | top << RT_PERCPU_COUNT_SHIFT) if i + 1 < count else <void*>below
        p = <void**>rest
    return word
