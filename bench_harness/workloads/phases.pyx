"""phases: a program that changes its mix of sizes: grow, free most at random, grow with another mix."""
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport (
    Cell, Params, Workload, cell_main, integer, mark, metric, real, window_begin, window_end)
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.sizes cimport Sizes, declare_sizes, sizes_between
from bench_harness.native.slots cimport slots_live, slots_page_bound
from bench_harness.native.survivors cimport Heap, heap_account, heap_fill, heap_idle, heap_new, heap_thin
from bench_harness.native.system cimport now_ns

cdef Sizes first, second
cdef long mib, percent, trickle
cdef double idle


cdef void declare(Params* p) noexcept nogil:
    global mib, percent, trickle, idle
    declare_sizes(p, &first, 16, 256)
    sizes_between(&second, integer(p, b"min2", 256, 4, 1 << 30, b"bytes", b"smallest block of the second mix"),
                  integer(p, b"max2", 4096, 4, 1 << 30, b"bytes", b"largest block of the second mix"))
    mib = integer(p, b"mib", 256, 1, 1 << 20, b"MiB", b"bytes asked for at the end of each growth")
    percent = integer(p, b"percent", 95, 0, 100, b"%", b"share of the first mix that is freed, at random")
    idle = real(p, b"idle", 2, 0, 3600, b"s", b"time between the phases and at the end")
    trickle = integer(p, b"trickle", 1000, 0, 10_000_000, b"pairs/s", b"malloc and free pairs while idle")
    p.takes = 2 * idle + <double>mib / 256    # a fixed amount of work, not a fixed time


cdef void body(Cell* cell) noexcept nogil:
    cdef Rng rng = rng_seed(<uint64_t>cell.seed, 0)
    cdef Heap heap
    cdef long live
    heap_new(cell, &heap, mib << 21, &first)
    window_begin(cell)
    heap_fill(&heap, mib << 20, &first, &rng)
    mark(cell, b"first mix", mib << 20)
    heap_thin(&heap, percent, False, &rng)
    live = slots_live(&heap.slots)
    mark(cell, b"thinned", live)
    cell.paused_ns = now_ns()
    metric(cell, b"page_bound_thinned_bytes", <double>slots_page_bound(&heap.slots))
    heap_idle(cell, &heap, idle, trickle, &first, &rng)
    cell.paused_ns = now_ns() - cell.paused_ns      # throughput is that of the work alone
    heap_fill(&heap, (mib << 20) - live, &second, &rng)
    heap_account(cell, &heap)
    window_end(cell, heap.calls, slots_live(&heap.slots))
    mark(cell, b"second mix", cell.live)
    heap_idle(cell, &heap, idle, trickle, &second, &rng)
    metric(cell, b"page_bound_bytes", <double>slots_page_bound(&heap.slots))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"phases", b"grow with small blocks, free most at random, grow with larger ones",
                               b"malloc or free call of the growth and the thinning", 1, declare, body)
    return cell_main(argc, argv, &w)
