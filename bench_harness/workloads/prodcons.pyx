"""prodcons: one-way pipelines, one to one, one to many, many to one; with pauses, the case of stranded owners."""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, choice, integer, metric
from bench_harness.native.pipeline cimport consume, produce
from bench_harness.native.queue cimport Queue, queue_close, queues_new, queues_peak_bytes
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes
from bench_harness.native.system cimport now_ns, sleep_until_ns
from bench_harness.native.threads cimport Worker, crew_new, crew_run, did, working

cdef enum:
    PAIRS, FAN_OUT, FAN_IN      # the order of the parameter's words
cdef Sizes sizes
cdef long batch, depth, burst, pause_ms, producers, shape, began
cdef Queue* queues


cdef void declare(Params* p) noexcept nogil:
    global batch, depth, burst, pause_ms, shape
    declare_sizes(p, &sizes, 16, 512)
    shape = choice(p, b"shape", b"1:1|1:N|N:1", b"pairs, one producer, or one consumer (2 threads at least)")
    batch = integer(p, b"batch", 64, 1, 1_000_000, b"blocks", b"blocks that travel together")
    depth = integer(p, b"depth", 64, 2, 100_000, b"batches", b"batches in flight per queue at most")
    burst = integer(p, b"burst", 256, 1, 1_000_000, b"batches", b"batches that a producer sends between pauses")
    pause_ms = integer(p, b"pause", 0, 0, 100_000, b"ms", b"producers take turns of this length; 0: no pauses")


cdef void work(Worker* w) noexcept nogil:
    cdef long turn = w.number // 2 if shape == PAIRS else w.number, _i
    cdef Queue* q = &queues[turn if shape == PAIRS else 0]
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    if w.number >= producers if shape != PAIRS else w.number % 2 == 1:
        while consume(q):
            pass
        return
    while working(w):
        if pause_ms > 0:        # what a producer sent must not stay with it while others have their turn
            sleep_until_ns(began + turn * pause_ms * 1_000_000)
            turn += producers
        for _i in range(burst if pause_ms > 0 else 1):
            did(w, produce(q, batch, &sizes, &rng))
            if w.number == w.crew.threads - 1:      # alone, or the last of an odd number: it has no partner
                consume(q)
    queue_close(q)


cdef void body(Cell* cell) noexcept nogil:
    global producers, queues, began
    cdef long n = 1 if shape != PAIRS else (cell.threads + 1) // 2
    producers = n if shape != FAN_IN or cell.threads == 1 else cell.threads - 1
    queues = queues_new(cell, n, depth, batch, 1 if shape == PAIRS else producers)
    began = now_ns()
    crew_run(crew_new(cell, cell.threads, work))
    metric(cell, b"in_flight_peak_bytes", <double>queues_peak_bytes(queues, n))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"prodcons", b"producers allocate, consumers free, in pairs, one to many or many to one",
                               b"malloc here, free there", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
