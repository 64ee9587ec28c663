"""prefork: a parent builds an application and forks workers: how much of it do their requests un-share?"""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport Cell, Params, Workload, cell_main, corrupt, integer
from bench_harness.native.processes cimport Workers, workers_declare, workers_run
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes
from bench_harness.native.slots cimport slots_live
from bench_harness.native.survivors cimport (
    Heap, Ring, heap_account, heap_fill, heap_move, heap_new, heap_thin, ring_new)
from bench_harness.native.system cimport blocks_overlap

cdef enum:
    GARBAGE = 20, KEPT = 2  # % of the blocks that only the start-up needs; % of a request's that its session keeps

cdef Sizes sizes
cdef long mib, kib, session, live
cdef Workers workers
cdef Heap application, scratch
cdef Ring sessions


cdef void declare(Params* p) noexcept nogil:
    global mib, kib, session
    declare_sizes(p, &sizes, 16, 1024)
    mib = integer(p, b"mib", 200, 1, 1 << 20, b"MiB", b"the application, built before the fork")
    kib = integer(p, b"kib", 64, 1, 1 << 20, b"KiB", b"bytes that a request allocates and frees")
    session = integer(p, b"session", 2048, 0, 1 << 20, b"KiB", b"bytes that a worker keeps of its latest requests")
    workers_declare(p, &workers)
    p.takes = workers.seconds + 0.005 * <double>mib


cdef void request(Cell* cell, Rng* rng) noexcept nogil:
    heap_fill(&scratch, kib << 10, &sizes, rng)
    heap_move(cell, &scratch, &sessions, KEPT if session > 0 else 0, rng)


cdef void check() noexcept nogil:
    if slots_live(&application.slots) != live and not blocks_overlap():
        corrupt(b"the application's blocks have changed in a worker")


cdef void body(Cell* cell) noexcept nogil:
    global live
    cdef Rng rng = rng_seed(<uint64_t>cell.seed, 0)
    heap_new(cell, &application, (mib << 20) * 100 // (100 - GARBAGE), &sizes)
    heap_new(cell, &scratch, kib << 10, &sizes)
    ring_new(cell, &sessions, session << 10, &sizes)
    heap_fill(&application, (mib << 20) * 100 // (100 - GARBAGE), &sizes, &rng)
    heap_thin(&application, GARBAGE, False, &rng)
    heap_account(cell, &application)
    live = slots_live(&application.slots)
    workers_run(cell, &workers, request, check, live)


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"prefork", b"forked workers serve requests beside an application that they share",
                               b"one request", 1, declare, body)
    return cell_main(argc, argv, &w)
