"""larson: threads that inherit each other's objects (P. Larson and M. Krishnan, ISMM 1998)."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from bench_harness.native.cell cimport Cell, Params, Workload, cell_main, integer
from bench_harness.native.random cimport Rng, rng_next, rng_seed, scale
from bench_harness.native.sizes cimport Sizes, declare_sizes, size_from
from bench_harness.native.slots cimport Slots, slot_fill, slots_live, slots_new
from bench_harness.native.threads cimport Crew, Worker, crew_new, crew_run, did, hand_over, working
from bench_harness.native.system cimport map_pages

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
    cdef Slots* s = <Slots*>w.state
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed + <uint64_t>w.done, <uint64_t>w.number)
    cdef long last = w.done + count * rounds, i
    cdef uint64_t bits
    cdef uint32_t victim
    while working(w):
        if w.done >= last:
            hand_over(w)
            return
        for i in range(BATCH):
            bits = rng_next(&rng)
            victim = scale(<uint32_t>bits, <uint32_t>count)
            free(s.block[victim])
            slot_fill(s, victim, size_from(&sizes, <uint32_t>(bits >> 32)))
        did(w, BATCH)


cdef void body(Cell* cell) noexcept nogil:
    cdef Crew* crew = crew_new(cell, cell.threads, work)
    cdef Slots* s = <Slots*>map_pages(<size_t>cell.threads * sizeof(Slots))
    cdef Rng rng = rng_seed(<uint64_t>cell.seed, 1 << 20)
    cdef long i, k
    for i in range(cell.threads):
        slots_new(cell, &s[i], count)
        for k in range(count):      # the main thread owns the first generation of objects
            slot_fill(&s[i], k, size_from(&sizes, <uint32_t>(rng_next(&rng) >> 32)))
        crew.worker[i].state = &s[i]
    crew_run(crew)
    cell.live = 0
    for i in range(cell.threads):
        cell.live += slots_live(&s[i])


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"larson", b"threads free and allocate at random in a table that they inherit, "
                               b"then hand it to a successor and exit", b"free + malloc", declare, body)
    return cell_main(argc, argv, &w)
