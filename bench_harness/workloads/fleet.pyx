"""fleet: sizes and lives as published of a large fleet, in threads whose load rises and falls with the day."""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, choice, integer, mark
from bench_harness.native.fleet cimport Fleet, diurnal, fleet_born, fleet_new
from bench_harness.native.lifetimes cimport Lifetimes, lifetimes_account, lifetimes_new, lifetimes_tick
from bench_harness.native.random cimport Rng, rng_next, rng_seed
from bench_harness.native.system cimport now_ns, sleep_until_ns
from bench_harness.native.threads cimport Worker, crew_new, crew_run, did, working

cdef enum:
    BATCH = 10_000      # ticks between two looks at the time of day

cdef Fleet fleet
cdef Lifetimes[THREADS_MOST] lifetimes
cdef long mib, day
cdef int profile


cdef void declare(Params* p) noexcept nogil:
    global mib, day, profile
    profile = choice(p, b"profile", b"5|1|2|8", b"programs of fleetbench: its default, small, big, large blocks")
    mib = integer(p, b"mib", 32, 1, 1 << 20, b"MiB", b"live bytes of a thread at full load")
    day = integer(p, b"day", 2_000_000, 1000, 1 << 50, b"mallocs", b"length of a day, as mallocs at full load")


cdef void work(Worker* w) noexcept nogil:
    cdef Lifetimes* l = &lifetimes[w.number]
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    cdef double load, hour = 0.5 + <double>w.number / w.crew.threads     # the first begins at noon, others later
    cdef long _i, calls, began
    for _i in range(fleet.blocks):
        fleet_born(&fleet, l, &fleet.living, &rng)
    while working(w):
        began, calls, load = now_ns(), 0, diurnal(<double>l.tick / day + hour)
        for _i in range(BATCH):
            calls += lifetimes_tick(l)
            if <double>(rng_next(&rng) >> 32) < load * 4294967296.0:
                fleet_born(&fleet, l, &fleet.births, &rng)
                calls += 1
        did(w, calls)
        sleep_until_ns(now_ns() + <long>((now_ns() - began) * (1 / load - 1)))      # idle as a server is


cdef void body(Cell* cell) noexcept nogil:
    cdef long i
    fleet_new(cell, &fleet, profile, mib << 20)
    for i in range(cell.threads):
        lifetimes_new(cell, &lifetimes[i], fleet.blocks * 2 + 1000)
    mark(cell, b"start", 0)
    crew_run(crew_new(cell, cell.threads, work))
    cell.live = 0
    for i in range(cell.threads):
        lifetimes_account(cell, &lifetimes[i])
    mark(cell, b"end", cell.live)


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"fleet", b"sizes and lives as published of a large fleet, under a load that follows "
                               b"the day", b"malloc or free", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
