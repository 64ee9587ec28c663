"""A bounded queue of batches of blocks between producers and consumers.

A mutex per batch, not per object: with hundreds of objects in each the queue is out of the measurement's way. The
batches themselves are mapped once, so the queue never calls the allocator.

Who finds nothing to do looks again for some tens of microseconds before it sleeps. Otherwise a consumer that is faster
than its producer sleeps after every batch, and the kernel, waking it where the waker runs, puts both on one CPU: then the
measurement shows the scheduler, and the faster of two allocators looks slower.
"""
from bench_harness.native.cell cimport Cell, cell_pages
from bench_harness.native.system cimport (
    map_pages, pthread_cond_broadcast, pthread_cond_init, pthread_cond_signal, pthread_cond_t, pthread_cond_wait,
    pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock, pointer_read, spin_pause)

cdef enum:
    SPINS = 2000            # looks before a thread sleeps: 20 to 100 us


cdef struct Batch:
    Batch* next
    long count              # blocks in it
    long bytes              # their sizes together
    void** block


cdef struct Queue:
    pthread_mutex_t lock
    pthread_cond_t may_put  # an empty batch came back
    pthread_cond_t may_get  # a full one came, or the queue was closed
    Batch* empty            # LIFO: the same few batches stay in the cache
    Batch* first            # FIFO of full batches
    Batch* last
    long producers          # that have not yet closed it
    long bytes              # between put and done: what is in flight
    long peak_bytes


cdef inline void queue_new(Cell* cell, Queue* q, long batches, long size, long producers) noexcept nogil:
    """An empty queue with `batches` batches of `size` blocks, closed after `producers` calls of `queue_close`."""
    cdef size_t bytes = <size_t>batches * (sizeof(Batch) + <size_t>size * sizeof(void*))
    cdef Batch* b = <Batch*>cell_pages(cell, bytes)
    cdef void** blocks
    cdef long i
    blocks = <void**>(b + batches)
    pthread_mutex_init(&q.lock, NULL)
    pthread_cond_init(&q.may_put, NULL)
    pthread_cond_init(&q.may_get, NULL)
    q.empty = q.first = q.last = NULL
    q.producers = producers
    q.bytes = q.peak_bytes = 0
    for i in range(batches):
        b[i].block = blocks + i * size
        b[i].next = q.empty
        q.empty = &b[i]


cdef inline Queue* queues_new(Cell* cell, long count, long batches, long size, long producers) noexcept nogil:
    """An array of `count` queues, each as `queue_new` makes it."""
    cdef Queue* q = <Queue*>map_pages(<size_t>count * sizeof(Queue))
    cdef long i
    for i in range(count):
        queue_new(cell, &q[i], batches, size, producers)
    return q


cdef inline void queue_await(void** place) noexcept nogil:
    """Wait a moment for `*place` to be something; the caller looks again under the lock."""
    cdef long _i
    for _i in range(SPINS):
        if pointer_read(place) != NULL:
            return
        spin_pause()


cdef inline Batch* queue_take_empty(Queue* q) noexcept nogil:
    """An empty batch to fill; waits while the consumers are behind."""
    cdef Batch* b
    queue_await(<void**>&q.empty)
    pthread_mutex_lock(&q.lock)
    while q.empty == NULL:
        pthread_cond_wait(&q.may_put, &q.lock)
    b = q.empty
    q.empty = b.next
    pthread_mutex_unlock(&q.lock)
    b.next = NULL
    b.count = b.bytes = 0
    return b


cdef inline void queue_put(Queue* q, Batch* b) noexcept nogil:
    """Send a filled batch."""
    pthread_mutex_lock(&q.lock)
    if q.last != NULL:
        q.last.next = b
    else:
        q.first = b
    q.last = b
    q.bytes += b.bytes
    if q.bytes > q.peak_bytes:
        q.peak_bytes = q.bytes
    pthread_cond_signal(&q.may_get)
    pthread_mutex_unlock(&q.lock)


cdef inline Batch* queue_get(Queue* q) noexcept nogil:
    """The oldest full batch; NULL when every producer has closed the queue and nothing is left."""
    cdef Batch* b
    queue_await(<void**>&q.first)
    pthread_mutex_lock(&q.lock)
    while q.first == NULL and q.producers > 0:
        pthread_cond_wait(&q.may_get, &q.lock)
    b = q.first
    if b != NULL:
        q.first = b.next
        if q.first == NULL:
            q.last = NULL
    pthread_mutex_unlock(&q.lock)
    return b


cdef inline void queue_done(Queue* q, Batch* b) noexcept nogil:
    """Give back a batch whose blocks are freed."""
    pthread_mutex_lock(&q.lock)
    q.bytes -= b.bytes
    b.next = q.empty
    q.empty = b
    pthread_cond_signal(&q.may_put)
    pthread_mutex_unlock(&q.lock)


cdef inline void queue_close(Queue* q) noexcept nogil:
    """This producer sends nothing more."""
    pthread_mutex_lock(&q.lock)
    q.producers -= 1
    if q.producers == 0:
        pthread_cond_broadcast(&q.may_get)
    pthread_mutex_unlock(&q.lock)


cdef inline long queues_peak_bytes(const Queue* q, long count) noexcept nogil:
    """The largest number of bytes in flight, summed over `count` queues."""
    cdef long total = 0, i
    for i in range(count):
        total += q[i].peak_bytes
    return total
