"""realloc: buffers that grow step by step, as strings, lists and receive buffers do."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from bench_harness.native.cell cimport THREADS_MOST, Cell, Params, Workload, cell_main, integer, out_of_memory
from bench_harness.native.random cimport Rng, below, rng_seed
from bench_harness.native.system cimport map_pages
from bench_harness.native.threads cimport Worker, crew_new, crew_run, did, working

cdef struct Buffer:
    char* data
    long size       # bytes

cdef Buffer* all        # `buffers` of them for each thread
cdef long buffers, first, largest, percent, extra


cdef void declare(Params* p) noexcept nogil:
    global buffers, first, largest, percent, extra
    buffers = integer(p, b"buffers", 64, 1, 1_000_000, b"buffers", b"buffers per thread that grow in turn at random")
    first = integer(p, b"first", 64, 1, 1 << 30, b"bytes", b"size of a new buffer")
    largest = integer(p, b"largest", 1 << 20, 1, 1 << 30, b"bytes", b"a buffer that would exceed this is freed")
    percent = integer(p, b"percent", 12, 0, 1000, b"%", b"growth of a buffer (12: a Python list's)")
    extra = integer(p, b"extra", 64, 1, 1 << 30, b"bytes", b"growth beside the percentage")


cdef void work(Worker* w) noexcept nogil:
    cdef Rng rng = rng_seed(<uint64_t>w.crew.cell.seed, <uint64_t>w.number)
    cdef Buffer* b
    cdef long size
    while working(w):
        did(w, 1)
        b = &all[w.number * buffers + below(&rng, <uint32_t>buffers)]
        size = b.size + b.size * percent // 100 + extra if b.size > 0 else first
        if size > largest:
            free(b.data)
            b.data, b.size = NULL, 0
            continue
        b.data = <char*>realloc(b.data, <size_t>size)
        if b.data == NULL:
            out_of_memory(<size_t>size)
        memset(b.data + b.size, 1, <size_t>(size - b.size))     # what is appended gets written
        b.size = size


cdef void body(Cell* cell) noexcept nogil:
    global all
    cdef long i
    all = <Buffer*>map_pages(<size_t>(cell.threads * buffers) * sizeof(Buffer))
    crew_run(crew_new(cell, cell.threads, work))
    cell.live = 0
    for i in range(cell.threads * buffers):
        cell.live += all[i].size


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"realloc", b"buffers grow by realloc until they are freed",
                               b"realloc (or free)", THREADS_MOST, declare, body)
    return cell_main(argc, argv, &w)
