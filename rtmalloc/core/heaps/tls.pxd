# The thread's heap pointer and the allocator's storage: tls.h has them.

cdef extern from "heaps/tls.h" nogil:
    enum:
        RT_ALLOCATOR_BYTES
        RT_BINS_OFFSET
        RT_BIN_COUNT
    ctypedef struct rt_heap_front:
        pass
    void* rt_no_cells[]
    rt_heap_front rt_heap_empty
    rt_heap_front rt_heap_late
    char rt_allocator_storage[]
    void rt_fork_register() noexcept
    void* rt_tls_get() noexcept
    void rt_tls_set(void* heap) noexcept
    bint rt_tls_is_active() noexcept
    int rt_exit_key_set(void* value) noexcept
