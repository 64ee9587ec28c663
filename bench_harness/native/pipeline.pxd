"""The two ends of a pipeline: a batch of fresh blocks is sent, a received batch is freed."""
from libc.stdint cimport uint32_t
from libc.stdlib cimport free
from bench_harness.native.queue cimport Batch, Queue, queue_done, queue_get, queue_put, queue_take_empty
from bench_harness.native.random cimport Rng, rng_next
from bench_harness.native.sizes cimport Sizes, size_from
from bench_harness.native.slots cimport block_new


cdef inline long produce(Queue* q, long count, const Sizes* sizes, Rng* rng) noexcept nogil:
    """Allocate a batch of `count` blocks and send it; returns `count`. Waits while the queue is full."""
    cdef Batch* b = queue_take_empty(q)
    cdef uint32_t size
    cdef long i
    for i in range(count):
        size = size_from(sizes, <uint32_t>(rng_next(rng) >> 32))
        b.block[i] = block_new(size)
        b.bytes += size
    b.count = count
    queue_put(q, b)
    return count


cdef inline bint consume(Queue* q) noexcept nogil:
    """Free the blocks of one batch; False when the queue is closed and empty."""
    cdef Batch* b = queue_get(q)
    cdef long i
    if b == NULL:
        return False
    for i in range(b.count):
        free(b.block[i])
    queue_done(q, b)
    return True
