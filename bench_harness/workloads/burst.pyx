"""burst: fill, free nearly all, idle, fill again: does RSS follow the pages that are still needed?"""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport (
    Cell, Params, Workload, cell_main, choice, integer, mark, metric, real, window_begin, window_end)
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes
from bench_harness.native.slots cimport slots_live, slots_page_bound
from bench_harness.native.survivors cimport (
    Heap, heap_account, heap_fill, heap_idle, heap_new, heap_thin, malloc_trim)
from bench_harness.native.system cimport now_ns

cdef Sizes sizes
cdef long mib, percent, trickle
cdef double idle
cdef bint by_age, trim


cdef void declare(Params* p) noexcept nogil:
    global mib, percent, trickle, idle, by_age, trim
    declare_sizes(p, &sizes, 16, 1024)
    mib = integer(p, b"mib", 100, 1, 1 << 20, b"MiB", b"bytes asked for by the burst")
    percent = integer(p, b"percent", 98, 0, 100, b"%", b"share of its blocks that are freed")
    by_age = choice(p, b"order", b"random|age", b"which ones: at random, or the oldest")
    idle = real(p, b"idle", 5, 0, 3600, b"s", b"time without or nearly without calls")
    trickle = integer(p, b"trickle", 1000, 0, 10_000_000, b"pairs/s", b"malloc and free pairs while idle")
    trim = choice(p, b"trim", b"no|yes", b"call malloc_trim(0) once when the idling begins")
    p.takes = idle + 0.003 * <double>mib    # a fixed amount of work, not a fixed time


cdef void body(Cell* cell) noexcept nogil:
    cdef Rng rng = rng_seed(<uint64_t>cell.seed, 0)
    cdef Heap heap
    cdef long live, before, began
    heap_new(cell, &heap, mib << 21, &sizes)        # twice: the refill comes on top of the survivors' slots
    window_begin(cell)
    heap_fill(&heap, mib << 20, &sizes, &rng)
    mark(cell, b"filled", mib << 20)
    heap_thin(&heap, percent, by_age, &rng)
    live = slots_live(&heap.slots)
    heap_account(cell, &heap)
    window_end(cell, heap.calls, live)
    if trim:
        malloc_trim(0)
    heap_idle(cell, &heap, idle, trickle, &sizes, &rng)
    metric(cell, b"page_bound_bytes", <double>slots_page_bound(&heap.slots))
    before, began = heap.calls, now_ns()
    heap_fill(&heap, (mib << 20) - live, &sizes, &rng)
    metric(cell, b"refill_per_second", <double>(heap.calls - before) * 1e9 / <double>(now_ns() - began))
    mark(cell, b"refilled", mib << 20)


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"burst", b"fill with small blocks, free nearly all, idle, fill again",
                               b"malloc or free call of the burst", 1, declare, body)
    return cell_main(argc, argv, &w)
