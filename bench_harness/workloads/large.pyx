"""large: few big blocks, 256 KiB to 64 MiB, each of whose pages is written once."""
from libc.stdint cimport uint32_t, uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, choice, integer
from bench_harness.native.random cimport Rng, rng_next, rng_seed, scale
from bench_harness.native.sizes cimport SizeTable, Sizes, declare_sizes, sizes_draw, sizes_power_law
from bench_harness.native.slots cimport Slots, slot_clear, slot_fill
from bench_harness.native.tables cimport crew_run_tables, crew_with_tables, table_of
from bench_harness.native.threads cimport Worker, did, working

cdef enum:
    PAGE = 4096     # bytes between two touched ones

cdef SizeTable table
cdef long count
cdef bint touch_all


cdef void declare(Params* p) noexcept nogil:
    global count, touch_all
    cdef Sizes sizes
    declare_sizes(p, &sizes, 256 << 10, 64 << 20)
    count = integer(p, b"live", 8, 1, 100_000, b"blocks", b"live blocks per thread")
    touch_all = choice(p, b"touch", b"all|first", b"pages of a new block that are written") == 0
    # An exponent of (nearly) 1: as many blocks between 1 and 2 MiB as between 32 and 64.
    sizes_power_law(&table, sizes.smallest, sizes.smallest + sizes.span - 1, 1.0001)


cdef void work(Worker* w) noexcept nogil:
    cdef Slots* s = table_of(w)
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    cdef uint64_t bits
    cdef uint32_t victim, size
    cdef long at
    while working(w):
        bits = rng_next(&rng)
        victim = scale(<uint32_t>bits, <uint32_t>count)
        size = sizes_draw(&table, <uint32_t>(bits >> 32))
        slot_clear(s, victim)
        slot_fill(s, victim, size)
        if touch_all:
            for at in range(1, <long>size // PAGE):
                (<char*>s.block[victim])[at * PAGE] = 1
        did(w, 1)


cdef void body(Cell* cell) noexcept nogil:
    crew_run_tables(crew_with_tables(cell, work, count))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"large", b"replace random blocks among a few big ones, log-uniform in size",
                               b"free + malloc + touch", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
