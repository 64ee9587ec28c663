# calloc: zeroed blocks, which are not cleared where they are known to be zero already.
from libc.string cimport memset

from cython cimport unlikely

from rtmalloc.core.alternatives.cpu_calls cimport cpu_malloc
from rtmalloc.core.alternatives.cpu_heap cimport cpu_heaps_serve
from rtmalloc.core.alternatives.percpu cimport RT_PERCPU_BUILT
from rtmalloc.core.base.platform cimport ENOMEM, rt_set_errno
from rtmalloc.core.base.size_class cimport rt_class_largest
from rtmalloc.core.calls.front cimport rt_malloc
from rtmalloc.core.calls.malloc_slow cimport malloc_alone, malloc_from_heap, malloc_large_aligned
from rtmalloc.core.heaps.instance cimport allocator_open
from rtmalloc.core.heaps.thread cimport heap_is_real, thread_heap, thread_heap_open
from rtmalloc.core.types cimport Heap

cdef extern from *:
    """
    static inline int rt_multiply(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }
    """
    bint rt_multiply(size_t a, size_t b, size_t* product) noexcept nogil

cdef enum:
    CALLOC_SINGLE = 2048       # bytes: above it calloc fetches single objects, to know whether they are zero already


cdef inline void* calloc_single(size_t bytes, bint* zeroed) noexcept nogil:
    # A block of a small class, and whether it is known to be zero.
    cdef Heap* h = thread_heap()
    cdef void* p
    if RT_PERCPU_BUILT and cpu_heaps_serve():
        return cpu_malloc(bytes, 1, zeroed)
    if unlikely(not heap_is_real(h)):
        h = <Heap*>thread_heap_open()
        if h == NULL:
            return malloc_alone(bytes, zeroed)
    p = malloc_from_heap(h, bytes, 1)
    zeroed[0] = h.last_zeroed
    return p


cdef inline void* rt_calloc "rt_calloc"(size_t count, size_t size) noexcept nogil:
    cdef size_t bytes = 0
    cdef bint zeroed = False
    cdef void* p
    if not rt_multiply(count, size, &bytes):
        rt_set_errno(ENOMEM)
        return NULL
    if bytes <= CALLOC_SINGLE and bytes <= rt_class_largest:
        # (Before start-up the largest class is the build's: what a table that is read makes large, malloc serves.)
        p = rt_malloc(bytes)
    elif unlikely(not allocator_open() or bytes > rt_class_largest):
        return malloc_large_aligned(bytes, 1, True)
    else:
        p = calloc_single(bytes, &zeroed)
    if p != NULL and not zeroed:
        memset(p, 0, bytes)
    return p
