"""churn: replace random blocks of a live set that keeps its number of objects."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from bench_harness.native.cell cimport Cell, Params, Workload, cell_main, integer
from bench_harness.native.random cimport Rng, rng_next, rng_seed, scale
from bench_harness.native.sizes cimport Sizes, declare_sizes, size_from
from bench_harness.native.slots cimport Slots, slot_fill, slots_live, slots_new
from bench_harness.native.system cimport map_pages
from bench_harness.native.threads cimport Crew, Worker, crew_new, crew_run, did, working

cdef enum:
    BATCH = 100     # operations between two looks at the stop flag

cdef Sizes sizes
cdef long count


cdef void declare(Params* p) noexcept nogil:
    global count
    declare_sizes(p, &sizes, 16, 1000)
    count = integer(p, b"live", 1000, 1, 100_000_000, b"blocks", b"live blocks per thread")


cdef void work(Worker* w) noexcept nogil:
    cdef Slots* s = <Slots*>w.state
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    cdef uint64_t bits
    cdef uint32_t victim
    cdef long i
    for i in range(count):
        slot_fill(s, i, size_from(&sizes, <uint32_t>(rng_next(&rng) >> 32)))
    while working(w):
        for i in range(BATCH):
            bits = rng_next(&rng)
            victim = scale(<uint32_t>bits, <uint32_t>count)
            free(s.block[victim])
            slot_fill(s, victim, size_from(&sizes, <uint32_t>(bits >> 32)))
        did(w, BATCH)


cdef void body(Cell* cell) noexcept nogil:
    cdef Crew* crew = crew_new(cell, cell.threads, work)
    cdef Slots* s = <Slots*>map_pages(<size_t>cell.threads * sizeof(Slots))
    cdef long i
    for i in range(cell.threads):
        slots_new(cell, &s[i], count)
        crew.worker[i].state = &s[i]
    crew_run(crew)
    cell.live = 0
    for i in range(cell.threads):
        cell.live += slots_live(&s[i])


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"churn", b"each thread replaces random blocks of its own live set",
                               b"free + malloc", declare, body)
    return cell_main(argc, argv, &w)
