"""mixed: sizes from 16 B to 64 KiB by a power law, and blocks that wander between threads."""
from libc.stdint cimport uint32_t, uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer, real
from bench_harness.native.random cimport Rng, rng_next, rng_seed, scale
from bench_harness.native.sizes cimport SizeTable, Sizes, declare_sizes, sizes_draw, sizes_power_law
from bench_harness.native.slots cimport Slots, slot_clear, slot_fill, slots_live, slots_new
from bench_harness.native.system cimport atomic_swap
from bench_harness.native.tables cimport crew_run_tables, crew_with_tables, table_of
from bench_harness.native.threads cimport Worker, did, working

cdef enum:
    BATCH = 100     # operations between two looks at the stop flag

cdef SizeTable table
cdef Slots shared           # where blocks change hands
cdef long count, wander


cdef void declare(Params* p) noexcept nogil:
    global count, wander
    cdef Sizes sizes
    declare_sizes(p, &sizes, 16, 65536)
    count = integer(p, b"live", 4000, 1, 100_000_000, b"blocks", b"live blocks per thread")
    wander = integer(p, b"wander", 10, 0, 100, b"%", b"share of blocks that are exchanged for another thread's")
    sizes_power_law(&table, sizes.smallest, sizes.smallest + sizes.span - 1,
                    real(p, b"exponent", 1.5, 1.01, 10, b"", b"density of sizes falls as size^-exponent"))


cdef void work(Worker* w) noexcept nogil:
    cdef Slots* s = table_of(w)
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    cdef uint64_t bits
    cdef uint32_t victim
    cdef long _i
    while working(w):
        for _i in range(BATCH):
            bits = rng_next(&rng)
            victim = scale(<uint32_t>bits, <uint32_t>count)
            if scale(<uint32_t>(bits >> 20), 100) < wander:
                s.block[victim] = atomic_swap(&shared.block[scale(<uint32_t>(bits >> 8), <uint32_t>count)],
                                              s.block[victim])
            slot_clear(s, victim)
            slot_fill(s, victim, sizes_draw(&table, <uint32_t>(bits >> 32)))
        did(w, BATCH)


cdef void body(Cell* cell) noexcept nogil:
    slots_new(cell, &shared, count)
    crew_run_tables(crew_with_tables(cell, work, count))
    cell.live += slots_live(&shared)


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"mixed", b"power-law sizes up to 64 KiB; some blocks wander to other threads before "
                               b"they are freed", b"free + malloc", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
