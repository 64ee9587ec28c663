"""Prefork servers: a parent forks workers, and what all of them cost together is seen over time.

The cost is the sum of the proportional set sizes (PSS): a page that nine processes share counts a ninth in each of
them. A worker that writes to a page gets a copy of its own, which the sum of `Private_Dirty` shows.
"""
from libc.stdio cimport snprintf
from libc.stdint cimport uint64_t
from bench_harness.native.cell cimport (
    EXIT_CORRUPT, EXIT_NO_MEMORY, Cell, mark, metric, sample, window_begin, window_end)
from bench_harness.native.params cimport Params, integer, real
from bench_harness.native.random cimport Rng, rng_seed
from bench_harness.native.system cimport (
    _exit, dprintf, now_ns, sem_init, sem_post, sem_t, sem_trywait, sem_wait, sleep_until_ns)

cdef extern from "bench_harness/native/processes.h" nogil:
    int child_fork()
    int child_status(int, int)
    int CHILD_RUNS
    int process_memory_add(int, long*, long*)
    void* map_shared_pages(size_t)
    int getpid()

cdef enum:
    WORKERS_MOST = 256
    EXIT_WORKER = 5                 # of a cell of which a worker failed
    POLL_NS = 1_000_000             # between two looks at whether a worker is still there
    LOOK_NS = 100_000_000           # between two looks at all processes, each of which walks their page tables
    LOOKS_SHOWN = 5                 # with a mark and the private dirty bytes: at the fork, and after each quarter
    LOOK_NAME = 40                  # bytes
    STEPS = 200                     # pauses between a worker's requests


cdef struct Ledger:
    sem_t ready                     # posted by each worker that is about to begin
    sem_t[WORKERS_MOST] go
    long[WORKERS_MOST] busy_ns      # time in which a worker had requests to serve


ctypedef void (*Request)(Cell*, Rng*) noexcept nogil
ctypedef void (*Check)() noexcept nogil

cdef struct Workers:
    Cell* cell
    Ledger* ledger                  # in pages that all processes share
    long count
    long requests                   # of each worker
    double seconds                  # over which they are spread
    Request request
    Check check                     # called in a worker after its last request
    int[WORKERS_MOST] pid
    char[LOOKS_SHOWN][LOOK_NAME] name
    char[LOOKS_SHOWN][LOOK_NAME] dirty_name


cdef inline void workers_declare(Params* p, Workers* w) noexcept nogil:
    """Declare `workers`, `requests` and `hour`."""
    w.count = integer(p, b"workers", 8, 1, WORKERS_MOST, b"processes", b"workers that are forked")
    w.requests = integer(p, b"requests", 20_000, 1, 1_000_000_000, b"requests", b"requests of each worker")
    w.seconds = real(p, b"hour", 10, 0.1, 3600, b"s", b"time over which they are spread: an hour, compressed")


cdef inline void worker_failed(long number, int status) noexcept nogil:
    """A worker's failure is the cell's."""
    if status != EXIT_CORRUPT and status != EXIT_NO_MEMORY:     # a worker that ends with these has said why
        dprintf(2, "worker %ld failed with status %d\n", number, status)
    _exit(status if status == EXIT_CORRUPT or status == EXIT_NO_MEMORY else EXIT_WORKER)


cdef inline void workers_await(Workers* w) noexcept nogil:
    """Wait until every worker has said that it is ready, and none has ended before."""
    cdef long said = 0, i
    cdef int status
    while said < w.count:
        if sem_trywait(&w.ledger.ready) == 0:
            said += 1
            continue
        for i in range(w.count):
            status = child_status(w.pid[i], 0)
            if status != CHILD_RUNS:
                worker_failed(i, status)
        sleep_until_ns(now_ns() + POLL_NS)


cdef inline void worker_serve(Workers* w, long number) noexcept nogil:
    """A worker's requests, in steps with pauses between them; workers begin their steps one after the other."""
    cdef Rng rng = rng_seed(<uint64_t>w.cell.seed, <uint64_t>number + 1)
    cdef long step = <long>(w.seconds * 1e9) // STEPS, began = now_ns() + step * number // w.count, at, i, _k
    for i in range(STEPS):
        sleep_until_ns(began + i * step)
        at = now_ns()
        for _k in range(w.requests * i // STEPS, w.requests * (i + 1) // STEPS):
            w.request(w.cell, &rng)
        w.ledger.busy_ns[number] += now_ns() - at


cdef inline void workers_fork(Workers* w) noexcept nogil:
    """Fork the workers, each of which waits until it may go, serves its requests, and checks what it has."""
    cdef long i
    w.ledger = <Ledger*>map_shared_pages(sizeof(Ledger))
    sem_init(&w.ledger.ready, 1, 0)
    for i in range(w.count):
        sem_init(&w.ledger.go[i], 1, 0)
        w.pid[i] = child_fork()
        if w.pid[i] == 0:
            sem_post(&w.ledger.ready)
            sem_wait(&w.ledger.go[i])
            worker_serve(w, i)
            w.check()
            sem_post(&w.ledger.ready)
            sem_wait(&w.ledger.go[i])   # whole until the last look
            _exit(0)
        if w.pid[i] < 0:
            dprintf(2, "worker %ld could not be forked\n", i)
            _exit(EXIT_WORKER)
    workers_await(w)


cdef inline void workers_go(Workers* w) noexcept nogil:
    """Let every worker pass the place at which it waits."""
    cdef long i
    for i in range(w.count):
        sem_post(&w.ledger.go[i])


cdef inline long workers_memory(const Workers* w, long* private_dirty) noexcept nogil:
    """The PSS of the parent and all workers together, bytes."""
    cdef long pss = 0, i
    private_dirty[0] = 0
    process_memory_add(getpid(), &pss, private_dirty)
    for i in range(w.count):
        process_memory_add(w.pid[i], &pss, private_dirty)
    return pss


cdef inline void workers_mark(Workers* w, long quarter, long live) noexcept nogil:
    """A look that is shown: a mark whose RSS is the sum of PSS, and the private dirty bytes as a metric."""
    cdef long dirty, pss = workers_memory(w, &dirty)
    snprintf(w.name[quarter], LOOK_NAME, b"%ld %%", 25 * quarter)
    snprintf(w.dirty_name[quarter], LOOK_NAME, b"private_dirty_%ld_%%_bytes", 25 * quarter)
    mark(w.cell, w.name[quarter], live)
    w.cell.mark[w.cell.marks - 1].rss = pss
    sample(w.cell, now_ns(), pss)
    metric(w.cell, w.dirty_name[quarter], <double>dirty)


cdef inline void workers_watch(Workers* w, long live) noexcept nogil:
    """Start the workers, look at them until their last request, and mark the beginning and each quarter."""
    cdef long began, length = <long>(w.seconds * 1e9), quarter = 0, at, dirty
    workers_mark(w, 0, live)
    workers_go(w)
    began = now_ns()
    while quarter < LOOKS_SHOWN - 1:
        at = now_ns() + LOOK_NS
        if at >= began + length * (quarter + 1) // (LOOKS_SHOWN - 1):
            quarter += 1
            sleep_until_ns(began + length * quarter // (LOOKS_SHOWN - 1))
            if quarter == LOOKS_SHOWN - 1:
                workers_await(w)        # the last requests may take longer than they should
            workers_mark(w, quarter, live)
            continue
        sleep_until_ns(at)
        sample(w.cell, now_ns(), workers_memory(w, &dirty))


cdef inline long workers_join(Workers* w) noexcept nogil:
    """Let the workers end; returns the time that they were busy, on average. A failed worker fails the cell."""
    cdef long busy = 0, i
    cdef int status
    workers_go(w)
    for i in range(w.count):
        status = child_status(w.pid[i], 1)
        if status != 0:
            worker_failed(i, status)
        busy += w.ledger.busy_ns[i]
    return busy // w.count


cdef inline void workers_run(Cell* cell, Workers* w, Request request, Check check, long live) noexcept nogil:
    """Fork the workers, let them serve, and look on; an application of `live` bytes is theirs together."""
    w.cell = cell
    w.request = request
    w.check = check
    window_begin(cell)      # before the fork: the latency probe counts in those processes that know of it
    workers_fork(w)
    workers_watch(w, live)
    cell.paused_ns = -workers_join(w)
    window_end(cell, w.count * w.requests, live)
    cell.paused_ns += cell.ended.at_ns - cell.began.at_ns   # what counts is the time in which they had work
