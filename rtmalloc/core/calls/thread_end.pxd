# A thread ends.
from rtmalloc.core.giveback.background cimport background_leave
from rtmalloc.core.heaps.heap_pool cimport heap_recycle
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.heaps.tls cimport rt_heap_late, rt_tls_set
from rtmalloc.core.types cimport Heap


cdef inline void thread_exit "rt_thread_exit"(void* heap) noexcept nogil:
    # The pthread key's destructor. Destructors that run after it may still allocate and free, without a heap.
    rt_tls_set(&rt_heap_late)
    heap_recycle(allocator(), <Heap*>heap)
    background_leave(allocator())
