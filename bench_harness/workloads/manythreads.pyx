"""manythreads: many threads that went idle after one burst each, around a few that go on working."""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer, metric
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes
from bench_harness.native.survivors cimport Heap, heap_fill, heap_new, heap_thin
from bench_harness.native.system cimport resident_bytes, sem_init, sem_post, sem_t, sem_wait
from bench_harness.native.tables cimport crew_run_tables, crew_with_tables, replace_random, table_of
from bench_harness.native.threads cimport Worker, crew_new, crew_start, did, working

cdef enum:
    BATCH = 100, LIVE = 1000    # operations between two looks at the stop flag; blocks of a working thread

cdef Sizes sizes
cdef long idlers, kib
cdef sem_t turn, finished, never
cdef Heap shared


cdef void declare(Params* p) noexcept nogil:
    global idlers, kib
    declare_sizes(p, &sizes, 16, 1024)
    idlers = integer(p, b"idlers", 1000, 1, 30_000, b"threads", b"threads that idle after their burst")
    kib = integer(p, b"kib", 1024, 1, 1 << 20, b"KiB", b"bytes that each of them allocates and frees before")


cdef void burst(Worker* w) noexcept nogil:
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number + THREADS_MOST)
    sem_wait(&turn)         # one after the other: the peak is one burst and what idle threads keep
    heap_fill(&shared, kib << 10, &sizes, &rng)
    heap_thin(&shared, 100, False, &rng)
    shared.used = 0
    sem_post(&turn)
    sem_post(&finished)
    sem_wait(&never)


cdef void work(Worker* w) noexcept nogil:
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    while working(w):
        replace_random(table_of(w), BATCH, &sizes, &rng)
        did(w, BATCH)


cdef void body(Cell* cell) noexcept nogil:
    cdef long before = resident_bytes(), _i
    sem_init(&turn, 0, 1)
    sem_init(&finished, 0, 0)       # `never` is zero from the start, and stays so
    heap_new(cell, &shared, kib << 10, &sizes)
    crew_start(crew_new(cell, idlers, burst))
    for _i in range(idlers):
        sem_wait(&finished)
    metric(cell, b"idle_rss_per_thread_bytes", <double>(resident_bytes() - before) / <double>idlers)
    crew_run_tables(crew_with_tables(cell, work, LIVE))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"manythreads", b"a few threads work among many that idle after one burst each",
                               b"free + malloc of the working threads", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
