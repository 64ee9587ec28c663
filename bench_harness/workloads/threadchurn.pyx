"""threadchurn: short threads that inherit a few objects, replace some of them, and hand them on."""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes
from bench_harness.native.tables cimport crew_run_tables, crew_with_tables, replace_random, table_of
from bench_harness.native.threads cimport Worker, did, hand_over, working

cdef Sizes sizes
cdef long count, calls, lives


cdef void declare(Params* p) noexcept nogil:
    global count, calls, lives
    declare_sizes(p, &sizes, 16, 1024)
    count = integer(p, b"slots", 200, 1, 1_000_000, b"blocks", b"live blocks that a chain of threads hands on")
    calls = integer(p, b"calls", 200, 0, 1_000_000_000, b"", b"blocks that each thread replaces")
    lives = integer(p, b"lives", 100_000, 1, 1_000_000_000, b"threads", b"threads in all (ops=N: per chain)")
    p.takes = 4e-5 * <double>lives    # a fixed amount of work, not a fixed time


cdef void work(Worker* w) noexcept nogil:
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed + <uint64_t>w.done, <uint64_t>w.number)
    replace_random(table_of(w), calls, &sizes, &rng)
    did(w, 1)
    if working(w):
        hand_over(w)


cdef void body(Cell* cell) noexcept nogil:
    if cell.ops == 0:       # a number of threads, not a time, so that growth over them can be compared
        cell.ops = (lives + cell.threads - 1) // cell.threads
    crew_run_tables(crew_with_tables(cell, work, count))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"threadchurn", b"chains of short threads that hand their objects on",
                               b"the life of one thread", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
