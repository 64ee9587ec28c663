"""turns: threads take turns at a burst of which little survives: does the peak rise from round to round?"""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.rounds cimport Rounds, round_top, rounds_begin, rounds_end, rounds_pause
from bench_harness.native.sizes cimport Sizes, declare_sizes
from bench_harness.native.survivors cimport Heap, Ring, heap_fill, heap_move, heap_new, ring_live, ring_new
from bench_harness.native.system cimport sem_post, sem_t, sem_wait
from bench_harness.native.threads cimport Worker, crew_new, crew_start

cdef enum:
    HELD = 8            # rounds that a survivor outlives: from then on the live bytes are steady
cdef Sizes sizes
cdef long count, gap_ms, mib, keep
cdef Rounds rounds
cdef Heap heap          # one burst is under way at a time, so one table serves all threads
cdef Ring survivors     # to let one in its oldest is freed, most often another thread's
cdef sem_t[THREADS_MOST + 1] turn   # zero from the start; the last one says that a turn is over


cdef void declare(Params* p) noexcept nogil:
    global count, gap_ms, mib, keep
    declare_sizes(p, &sizes, 16, 1024)
    count = integer(p, b"rounds", 16, 1, 100_000, b"bursts", b"bursts in all, each by the next thread")
    gap_ms = integer(p, b"gap", 400, 0, 100_000, b"ms", b"time without calls after each burst")
    mib = integer(p, b"mib", 100, 1, 1 << 16, b"MiB", b"bytes asked for by a burst")
    keep = integer(p, b"keep", 2, 0, 100, b"%", b"share of its blocks that survive")
    p.takes = <double>count * (0.025 + 0.001 * <double>gap_ms + 0.0015 * <double>mib)


cdef void work(Worker* w) noexcept nogil:
    cdef long n = w.number
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    while n < count:
        sem_wait(&turn[w.number])
        heap_fill(&heap, mib << 20, &sizes, &rng)
        round_top(w.crew.cell, &rounds, n, (mib << 20) + ring_live(&survivors))
        heap_move(w.crew.cell, &heap, &survivors, keep, &rng)
        sem_post(&turn[THREADS_MOST])
        n += w.crew.threads
    sem_wait(&turn[w.number])       # for ever: the threads of a pool stay


cdef void body(Cell* cell) noexcept nogil:
    cdef long n
    heap_new(cell, &heap, mib << 20, &sizes)
    ring_new(cell, &survivors, HELD * (mib << 20) * keep // 100, &sizes)
    crew_start(crew_new(cell, cell.threads, work))
    rounds_begin(cell, &rounds, count)
    for n in range(count):
        sem_post(&turn[n % cell.threads])
        sem_wait(&turn[THREADS_MOST])
        rounds_pause(&rounds, gap_ms * 1_000_000)
    rounds_end(cell, &rounds, heap.calls, ring_live(&survivors))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"turns", b"threads take turns at a burst of which little survives",
                               b"malloc or free call of a burst", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
