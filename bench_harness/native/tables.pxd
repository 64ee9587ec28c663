"""A crew in which every worker has a table of blocks of its own: what most workloads are made of."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from bench_harness.native.cell cimport Cell
from bench_harness.native.random cimport Rng, rng_next, scale
from bench_harness.native.sizes cimport Sizes, size_from
from bench_harness.native.slots cimport Slots, slot_fill, slots_live, slots_new
from bench_harness.native.system cimport map_pages
from bench_harness.native.threads cimport Crew, Work, Worker, crew_new, crew_run


cdef inline Slots* table_of(const Worker* w) noexcept nogil:
    """The worker's table."""
    return <Slots*>w.state


cdef inline Crew* crew_with_tables(Cell* cell, Work work, long count) noexcept nogil:
    """A crew of `cell.threads` workers, each with an empty table of `count` slots."""
    cdef Crew* crew = crew_new(cell, cell.threads, work)
    cdef Slots* s = <Slots*>map_pages(<size_t>cell.threads * sizeof(Slots))
    cdef long i
    for i in range(cell.threads):
        slots_new(cell, &s[i], count)
        crew.worker[i].state = &s[i]
    return crew


cdef inline void replace_random(Slots* s, long operations, const Sizes* sizes, Rng* rng) noexcept nogil:
    """Free a random block and put a fresh one of random size in its place, `operations` times."""
    cdef Rng r = rng[0]     # a local copy stays in a register over the calls
    cdef uint32_t count = <uint32_t>s.count, victim
    cdef uint64_t bits
    cdef long _i
    for _i in range(operations):
        bits = rng_next(&r)
        victim = scale(<uint32_t>bits, count)
        free(s.block[victim])
        slot_fill(s, victim, size_from(sizes, <uint32_t>(bits >> 32)))
    rng[0] = r


cdef inline void crew_run_tables(Crew* crew) noexcept nogil:
    """Run the crew, then count what its tables hold as the cell's live bytes."""
    cdef long i
    crew_run(crew)
    crew.cell.live = 0
    for i in range(crew.threads):
        crew.cell.live += slots_live(table_of(&crew.worker[i]))
