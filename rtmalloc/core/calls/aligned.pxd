# The calls that ask for an alignment.
from libc.stdint cimport uint32_t

from rtmalloc.core.base.platform cimport EINVAL, ENOMEM, rt_get_errno, rt_set_errno
from rtmalloc.core.base.size_class cimport class_of_aligned, rt_class_size
from rtmalloc.core.calls.front cimport rt_malloc
from rtmalloc.core.calls.malloc_slow cimport RT_LARGEST_REQUEST, malloc_large_aligned
from rtmalloc.core.heaps.instance cimport allocator, allocator_open


cdef inline void* aligned_malloc(size_t alignment, size_t bytes) noexcept nogil:
    # `alignment` is a power of two. No block ever begins elsewhere than at its own start: free needs no special case.
    # (The table of classes is final once the allocator is open.)
    cdef uint32_t class_ = class_of_aligned(bytes, alignment) if allocator_open() else 0
    if class_:
        return rt_malloc(rt_class_size[class_])
    return malloc_large_aligned(bytes, alignment, False)


cdef inline bint aligned_is_power(size_t n) noexcept nogil:
    return n != 0 and n & (n - 1) == 0


cdef inline void* rt_memalign "rt_memalign"(size_t alignment, size_t bytes) noexcept nogil:
    # As glibc: an alignment that is no power of two is rounded up to one.
    cdef size_t power = sizeof(void*)
    while power < alignment and power <= RT_LARGEST_REQUEST:
        power *= 2
    if power < alignment:
        rt_set_errno(EINVAL)
        return NULL
    return aligned_malloc(power, bytes)


cdef inline void* rt_aligned_alloc "rt_aligned_alloc"(size_t alignment, size_t bytes) noexcept nogil:
    if not aligned_is_power(alignment):
        rt_set_errno(EINVAL)
        return NULL
    return aligned_malloc(alignment, bytes)


cdef inline int rt_posix_memalign "rt_posix_memalign"(void** result, size_t alignment, size_t bytes) noexcept nogil:
    # The answer is returned, and *result stays on failure. errno is ENOMEM where memory is, as others have it: programs print it.
    cdef int saved = rt_get_errno()
    cdef void* p
    if not aligned_is_power(alignment) or alignment % sizeof(void*):
        return EINVAL
    p = aligned_malloc(alignment, bytes)
    if p == NULL:
        return ENOMEM
    rt_set_errno(saved)
    result[0] = p
    return 0


cdef inline void* rt_valloc "rt_valloc"(size_t bytes) noexcept nogil:
    if not allocator_open():
        rt_set_errno(ENOMEM)
        return NULL
    return aligned_malloc(allocator().arena.page_bytes, bytes)


cdef inline void* rt_pvalloc "rt_pvalloc"(size_t bytes) noexcept nogil:
    cdef size_t page
    if not allocator_open() or bytes > RT_LARGEST_REQUEST:
        rt_set_errno(ENOMEM)
        return NULL
    page = allocator().arena.page_bytes
    bytes = (bytes + page - 1) & ~(page - 1)
    return aligned_malloc(page, bytes if bytes else page)
