# A thread and its heap: the first call makes one, the thread's end gives it back.
from rtmalloc.core.base.attributes cimport cold_pointer
from rtmalloc.core.heaps.heap_pool cimport heap_acquire, heap_recycle
from rtmalloc.core.heaps.instance cimport allocator, allocator_open
from rtmalloc.core.heaps.tls cimport rt_exit_key_set, rt_heap_empty, rt_heap_late, rt_tls_get, rt_tls_set
from rtmalloc.core.types cimport Heap


cdef inline Heap* thread_heap() noexcept nogil:
    return <Heap*>rt_tls_get()


cdef inline bint heap_is_real(const Heap* h) noexcept nogil:
    return <void*>h != <void*>&rt_heap_empty and <void*>h != <void*>&rt_heap_late


cdef inline Heap* thread_heap_or_null() noexcept nogil:
    # The calling thread's heap, NULL when it has none.
    cdef Heap* h = thread_heap()
    return h if heap_is_real(h) else NULL


cdef inline cold_pointer thread_heap_open() noexcept nogil:
    # The calling thread's heap, made now if it has none; NULL for a thread that has passed its exit, or when no heap is left:
    # it then works without one.
    cdef Heap* h = thread_heap()
    if heap_is_real(h):
        return h
    if <void*>h == <void*>&rt_heap_late or not allocator_open():
        return NULL
    # Opening registers fork handlers, which may allocate: then there is a heap by now.
    h = thread_heap()
    if heap_is_real(h):
        return h
    h = heap_acquire(allocator())
    if h == NULL:
        return NULL
    rt_tls_set(h)
    # May allocate in threads with many keys, which by now works.
    if rt_exit_key_set(h) != 0:
        # Without its destructor the heap would never come back: this thread works without one.
        rt_tls_set(&rt_heap_late)
        heap_recycle(allocator(), h)
        return NULL
    return h
