"""larson: threads that inherit each other's objects (P. Larson and M. Krishnan, ISMM 1998)."""
from libc.stdint cimport uint32_t, uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer
from bench_harness.native.random cimport Rng, rng_next, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes, size_from
from bench_harness.native.slots cimport Slots, slot_fill
from bench_harness.native.tables cimport crew_run_tables, crew_with_tables, replace_random, table_of
from bench_harness.native.threads cimport Crew, Worker, did, hand_over, working

cdef enum:
    BATCH = 100     # operations between two looks at the stop flag

cdef Sizes sizes
cdef long count, rounds


cdef void declare(Params* p) noexcept nogil:
    global count, rounds
    declare_sizes(p, &sizes, 8, 1000)
    count = integer(p, b"slots", 5000, 1, 10_000_000, b"blocks", b"live blocks per thread")
    rounds = integer(p, b"rounds", 100, 1, 1_000_000_000, b"", b"a thread lives for slots x rounds operations")


cdef void work(Worker* w) noexcept nogil:
    cdef Slots* s = table_of(w)
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed + <uint64_t>w.done, <uint64_t>w.number)
    cdef long last = w.done + count * rounds
    while working(w):
        if w.done >= last:
            hand_over(w)
            return
        replace_random(s, BATCH, &sizes, &rng)
        did(w, BATCH)


cdef void body(Cell* cell) noexcept nogil:
    cdef Crew* crew = crew_with_tables(cell, work, count)
    cdef Rng rng = rng_seed(<uint64_t>cell.seed, 1 << 20)
    cdef long i, k
    for i in range(cell.threads):
        for k in range(count):      # the main thread owns the first generation of objects
            slot_fill(table_of(&crew.worker[i]), k, size_from(&sizes, <uint32_t>(rng_next(&rng) >> 32)))
    crew_run_tables(crew)


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"larson", b"threads free and allocate at random in a table that they inherit, "
                               b"then hand it to a successor and exit", b"free + malloc", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
