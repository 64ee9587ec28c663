# The fast paths of malloc and free on a thread's heap.
# Both fit one screen; what they miss into is out of line (malloc_slow.pxd, free_slow.pxd).
#
# malloc: thread heap -> bin by a table -> pop.
# free:   tag of the slice -> (tag - own tag base) is the bin's offset, or the object is not of our slot -> push.
from libc.stdint cimport uint32_t

from cython cimport unlikely

from rtmalloc.core.base.attributes cimport inlined_pointer, inlined_void
from rtmalloc.core.base.config cimport RT_CHECK
from rtmalloc.core.base.size_class cimport class_bin_offset
from rtmalloc.core.calls.check cimport check_free
from rtmalloc.core.calls.free_slow cimport free_beat, free_full, free_other
from rtmalloc.core.calls.malloc_slow cimport malloc_slow
from rtmalloc.core.heaps.bin cimport rt_bin_limit, rt_bin_lower, rt_bin_raise, rt_bin_top
from rtmalloc.core.heaps.thread cimport thread_heap
from rtmalloc.core.pages.tag cimport BIN_END
from rtmalloc.core.types cimport Heap


cdef inline inlined_pointer thread_front_malloc(size_t bytes) noexcept nogil:
    # At most RT_MAX_SMALL bytes.
    cdef Heap* h = thread_heap()
    cdef size_t at = class_bin_offset(bytes)
    cdef void* p = rt_bin_top(h, at)[0]
    if unlikely(p == NULL):
        return malloc_slow(bytes)
    rt_bin_lower(h, at)
    return p


cdef inline inlined_void thread_front_free(uint32_t tag, void* p) noexcept nogil:
    # A block of the arena.
    cdef Heap* h = thread_heap()
    cdef size_t at = <uint32_t>(tag - h.tag_base)
    cdef void** top
    if unlikely(at >= BIN_END):
        free_other(p)
        return
    if RT_CHECK:
        check_free(h, at, p)
    top = rt_bin_top(h, at)
    if unlikely(top == rt_bin_limit(h, at)):
        free_full(p, at)
        return
    h.beat -= 1
    if unlikely(h.beat < 0):
        free_beat(p, at)
        return
    top[1] = p
    rt_bin_raise(h, at)
