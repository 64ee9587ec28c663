# malloc and free themselves, with the front that the library is built with.
# It is the thread's (thread_front.pxd), or one of two in alternatives/. A constant chooses, so that nothing of the
# others remains.
from libc.stdint cimport uint32_t

from cython cimport unlikely

from rtmalloc.core.alternatives.cpu_front cimport cpu_front_free, cpu_front_malloc
from rtmalloc.core.alternatives.percpu cimport RT_PERCPU_BUILT
from rtmalloc.core.alternatives.state_front cimport state_front_free, state_front_malloc
from rtmalloc.core.base.attributes cimport fast_pointer, fast_void, inlined_pointer, inlined_void
from rtmalloc.core.base.config cimport RT_STATE_TEST
from rtmalloc.core.base.size_class cimport RT_MAX_SMALL, class_bin_offset
from rtmalloc.core.calls.free_slow cimport free_outside
from rtmalloc.core.calls.malloc_slow cimport malloc_large
from rtmalloc.core.calls.thread_front cimport thread_front_free, thread_front_malloc
from rtmalloc.core.heaps.bin cimport rt_bin_lower, rt_bin_top
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.heaps.thread cimport thread_heap
from rtmalloc.core.pages.tag cimport tag_find
from rtmalloc.core.types cimport Heap


cdef inline inlined_pointer front_malloc(size_t bytes) noexcept nogil:
    # At most RT_MAX_SMALL bytes.
    if RT_PERCPU_BUILT:
        return cpu_front_malloc(bytes)
    if RT_STATE_TEST:
        return state_front_malloc(bytes)
    return thread_front_malloc(bytes)


cdef inline inlined_void front_free(uint32_t tag, void* p) noexcept nogil:
    # A block of the arena.
    if RT_PERCPU_BUILT:
        cpu_front_free(tag, p)
    elif RT_STATE_TEST:
        state_front_free(tag, p)
    else:
        thread_front_free(tag, p)


cdef inline fast_pointer rt_malloc "rt_malloc"(size_t bytes) noexcept nogil:
    if unlikely(bytes > RT_MAX_SMALL):
        return malloc_large(bytes)
    return front_malloc(bytes)


cdef inline fast_void rt_free "rt_free"(void* p) noexcept nogil:
    cdef uint32_t tag
    if unlikely(not tag_find(&allocator().arena, p, &tag)):
        free_outside(p)
        return
    front_free(tag, p)


cdef extern from *:
    """
    static void *rt_new_slow(size_t bytes);
    """
    void* rt_new_slow(size_t bytes) noexcept nogil


cdef inline fast_pointer rt_new "rt_new"(size_t bytes) noexcept nogil:
    # C++'s new: malloc, but that a miss ends in rt_new_slow (calls/operators.h), which never returns NULL.
    cdef Heap* h = thread_heap()
    cdef size_t at
    cdef void* p
    if RT_PERCPU_BUILT or RT_STATE_TEST:
        return rt_new_slow(bytes)
    if unlikely(bytes > RT_MAX_SMALL):
        return rt_new_slow(bytes)
    at = class_bin_offset(bytes)
    p = rt_bin_top(h, at)[0]
    if unlikely(p == NULL):
        return rt_new_slow(bytes)
    rt_bin_lower(h, at)
    return p
