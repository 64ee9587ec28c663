"""xmalloc: some threads only allocate, others only free what they are sent (C. Lever and D. Boreham's test)."""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer, metric
from bench_harness.native.pipeline cimport consume, produce
from bench_harness.native.queue cimport Queue, queue_close, queue_new
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes
from bench_harness.native.threads cimport Worker, crew_new, crew_run, did, working

cdef Sizes sizes
cdef long batch, depth
cdef Queue queue


cdef void declare(Params* p) noexcept nogil:
    global batch, depth
    declare_sizes(p, &sizes, 64, 64)
    batch = integer(p, b"batch", 4096, 1, 1_000_000, b"blocks", b"blocks that travel together")
    depth = integer(p, b"depth", 8, 2, 100_000, b"batches", b"batches in flight per thread at most")


cdef void work(Worker* w) noexcept nogil:
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    if w.number % 2 == 1:
        while consume(&queue):
            pass
        return
    while working(w):
        did(w, produce(&queue, batch, &sizes, &rng))
        if w.crew.threads == 1:     # alone, it plays both parts in turn
            consume(&queue)
    queue_close(&queue)


cdef void body(Cell* cell) noexcept nogil:
    queue_new(cell, &queue, depth * cell.threads, batch, (cell.threads + 1) // 2)
    crew_run(crew_new(cell, cell.threads, work))
    metric(cell, b"in_flight_peak_bytes", <double>queue.peak_bytes)


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"xmalloc", b"every other thread only allocates, its neighbours only free: batches "
                               b"through a bounded queue", b"malloc here, free there", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
