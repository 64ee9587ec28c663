"""leak: three places keep what they ask for, among many blocks that pass: what a heap profile should find is known."""
from libc.stdint cimport uint32_t
from bench_harness.native.cell cimport (
    Cell, Params, Workload, cell_main, integer, mark, metric, real, window_begin, window_end)
from bench_harness.native.random cimport Rng, below, rng_seed
from bench_harness.native.slots cimport Slots, block_new, slot_clear, slots_live, slots_new, slots_page_bound
from bench_harness.native.system cimport now_ns, sleep_until_ns

cdef long mib, size, passing
cdef double idle
cdef long[3] kept    # bytes by place
ctypedef void* (*Place)() noexcept nogil

cdef void declare(Params* p) noexcept nogil:
    global mib, size, passing, idle
    mib = integer(p, b"mib", 4, 1, 1 << 20, b"MiB", b"bytes that are kept: 60, 30 and 10 % by place")
    size = integer(p, b"size", 64, 4, 1 << 20, b"bytes", b"of a block")
    passing = integer(p, b"passing", 31, 0, 1000, b"blocks", b"that pass for each that is kept, and go in the end")
    idle = real(p, b"idle", 0.5, 0, 3600, b"s", b"time in the end, in which pages may go back")
    p.takes = idle + 0.003 * <double>(mib * (passing + 1))

# (Chosen by number, and each with a count of its own: no compiler makes one function of them.)
cdef void* keeps_most() noexcept nogil:
    kept[0] += size
    return block_new(<uint32_t>size)
cdef void* keeps_some() noexcept nogil:
    kept[1] += size
    return block_new(<uint32_t>size)
cdef void* keeps_few() noexcept nogil:
    kept[2] += size
    return block_new(<uint32_t>size)

cdef void body(Cell* cell) noexcept nogil:
    cdef Rng rng = rng_seed(<uint32_t>cell.seed, 0)
    cdef long count = (mib << 20) // size, i, k
    cdef uint32_t draw
    cdef Slots keep, passes
    cdef Place[3] places = [keeps_most, keeps_some, keeps_few]
    slots_new(cell, &keep, count)
    slots_new(cell, &passes, count * passing if passing else 1)
    window_begin(cell)
    for i in range(count):
        draw = below(&rng, 10)
        keep.block[i] = places[0 if draw < 6 else 1 if draw < 9 else 2]()
        for k in range(passing):
            passes.block[i * passing + k] = block_new(<uint32_t>size)
    mark(cell, b"filled", slots_live(&keep) + slots_live(&passes))
    for i in range(passes.count):
        slot_clear(&passes, i)
    window_end(cell, count * (1 + 2 * passing), slots_live(&keep))
    sleep_until_ns(now_ns() + <long>(idle * 1e9))
    metric(cell, b"keeps_most_bytes", <double>kept[0])
    metric(cell, b"keeps_some_bytes", <double>kept[1])
    metric(cell, b"keeps_few_bytes", <double>kept[2])
    metric(cell, b"page_bound_bytes", <double>slots_page_bound(&keep))

cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"leak", b"three places keep blocks among many that pass", b"malloc or free call", 1,
                               declare, body)
    return cell_main(argc, argv, &w)
