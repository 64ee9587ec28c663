# A front that first asks for the thread's state: the alternative to idea 5 (variant state-test).
# The default has a heap pointer that is never NULL. RT_STATE_TEST chooses.
from libc.stdint cimport uint32_t

from cython cimport unlikely

from rtmalloc.core.base.attributes cimport inlined_pointer, inlined_void
from rtmalloc.core.calls.free_slow cimport free_other
from rtmalloc.core.calls.malloc_slow cimport malloc_slow
from rtmalloc.core.calls.thread_front cimport thread_front_free, thread_front_malloc
from rtmalloc.core.heaps.tls cimport rt_tls_is_active


cdef inline inlined_pointer state_front_malloc(size_t bytes) noexcept nogil:
    if unlikely(not rt_tls_is_active()):
        return malloc_slow(bytes)
    return thread_front_malloc(bytes)


cdef inline inlined_void state_front_free(uint32_t tag, void* p) noexcept nogil:
    if unlikely(not rt_tls_is_active()):
        free_other(p)
    else:
        thread_front_free(tag, p)
