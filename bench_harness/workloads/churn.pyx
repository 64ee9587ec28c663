"""churn: replace random blocks of a live set that keeps its number of objects."""
from libc.stdint cimport uint32_t, uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer
from bench_harness.native.random cimport Rng, rng_next, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes, size_from
from bench_harness.native.slots cimport Slots, slot_fill
from bench_harness.native.tables cimport crew_run_tables, crew_with_tables, replace_random, table_of
from bench_harness.native.threads cimport Worker, did, working

cdef enum:
    BATCH = 100     # operations between two looks at the stop flag

cdef Sizes sizes
cdef long count


cdef void declare(Params* p) noexcept nogil:
    global count
    declare_sizes(p, &sizes, 16, 1000)
    count = integer(p, b"live", 1000, 1, 100_000_000, b"blocks", b"live blocks per thread")


cdef void work(Worker* w) noexcept nogil:
    cdef Slots* s = table_of(w)
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    cdef long i
    for i in range(count):
        slot_fill(s, i, size_from(&sizes, <uint32_t>(rng_next(&rng) >> 32)))
    while working(w):
        replace_random(s, BATCH, &sizes, &rng)
        did(w, BATCH)


cdef void body(Cell* cell) noexcept nogil:
    crew_run_tables(crew_with_tables(cell, work, count))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"churn", b"each thread replaces random blocks of its own live set",
                               b"free + malloc", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
