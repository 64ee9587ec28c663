"""Worker threads of a cell: started together, counted without locks, stopped by a flag or after N operations.

A worker's function loops `while working(w): <a batch>; did(w, batch)`. Threads that hand their objects to a
successor (larson) call `hand_over` as their last act.
"""
from libc.string cimport memset
from bench_harness.native.cell cimport Cell, out_of_memory, window_begin, window_end
from bench_harness.native.system cimport (
    atomic_read, atomic_write, map_pages, now_ns, pthread_barrier_init, pthread_barrier_t, pthread_barrier_wait,
    pthread_create, pthread_join, pthread_self, pthread_t, sem_init, sem_post, sem_t, sem_wait, sleep_until_ns)

ctypedef void (*Work)(Worker*) noexcept nogil
ctypedef long (*Count)(Crew*) noexcept nogil

cdef struct Worker:
    Crew* crew
    long number             # 0 .. threads-1
    long quota              # operations to do in all, when the cell has no clock
    Work work
    void* state             # the workload's own
    pthread_t thread
    pthread_t previous      # the predecessor in a chain, to be joined by the next one
    bint has_previous
    bint successor          # this thread's last act is to start its successor
    char[128] apart         # `done` is read by the main thread: on a cache line of its own
    long done               # operations so far, all generations
    char[120] apart_too


cdef struct Crew:
    Cell* cell
    long threads
    Worker* worker
    pthread_barrier_t start
    sem_t finished
    char[128] apart
    long stop
    char[120] apart_too


cdef inline bint working(const Worker* w) noexcept nogil:
    """True while the worker should do another batch."""
    if w.quota != 0:
        return w.done < w.quota
    return atomic_read(&w.crew.stop) == 0


cdef inline void did(Worker* w, long operations) noexcept nogil:
    """Count a finished batch. One writer per counter, so a plain store suffices."""
    atomic_write(&w.done, w.done + operations)


cdef inline void* worker_enter(void* argument) noexcept nogil:
    cdef Worker* w = <Worker*>argument
    pthread_barrier_wait(&w.crew.start)
    return worker_live(w)


cdef inline void* worker_inherit(void* argument) noexcept nogil:
    return worker_live(<Worker*>argument)


cdef inline void* worker_live(Worker* w) noexcept nogil:
    cdef pthread_t next
    w.work(w)
    if not w.successor:
        w.thread = pthread_self()
        sem_post(&w.crew.finished)
        return NULL
    w.successor = False
    # The predecessor's exit runs beside our start, as in the original larson; joined one generation later, so
    # that stacks do not pile up. From the moment of its creation the successor owns `w`.
    if w.has_previous:
        pthread_join(w.previous, NULL)
    w.previous = pthread_self()
    w.has_previous = True
    if pthread_create(&next, NULL, worker_inherit, w) != 0:
        out_of_memory(0)
    return NULL


cdef inline void hand_over(Worker* w) noexcept nogil:
    """Let a successor thread take over this worker and everything it holds, as soon as `work` returns."""
    w.successor = True


cdef inline long crew_done(Crew* crew) noexcept nogil:
    """Operations of all workers so far."""
    cdef long total = 0, i
    for i in range(crew.threads):
        total += atomic_read(&crew.worker[i].done)
    return total


cdef inline Crew* crew_new(Cell* cell, long threads, Work work) noexcept nogil:
    """A crew of `threads` workers that are not yet started; give each its `state`, then call `crew_run`."""
    cdef Crew* crew = <Crew*>map_pages(sizeof(Crew) + <size_t>threads * sizeof(Worker))
    cdef Worker* w
    cdef long i
    if crew == NULL:
        out_of_memory(sizeof(Crew))
    crew.cell = cell
    crew.threads = threads
    crew.worker = <Worker*>(crew + 1)
    for i in range(threads):
        w = &crew.worker[i]
        w.crew = crew
        w.number = i
        w.quota = cell.ops
        w.work = work
    pthread_barrier_init(&crew.start, NULL, <unsigned>(threads + 1))
    sem_init(&crew.finished, 0, 0)
    return crew


cdef inline void crew_start(Crew* crew) noexcept nogil:
    """Start all workers; returns when every one of them is running."""
    cdef long i
    for i in range(crew.threads):
        if pthread_create(&crew.worker[i].thread, NULL, worker_enter, &crew.worker[i]) != 0:
            out_of_memory(0)
    pthread_barrier_wait(&crew.start)


cdef inline void crew_join(Crew* crew) noexcept nogil:
    """Wait until every worker, or the last successor of its chain, has gone."""
    cdef long i, _i
    for _i in range(crew.threads):
        sem_wait(&crew.finished)
    for i in range(crew.threads):
        if crew.worker[i].has_previous:
            pthread_join(crew.worker[i].previous, NULL)
        pthread_join(crew.worker[i].thread, NULL)


cdef inline void crew_run(Crew* crew) noexcept nogil:
    """Start the workers, let them warm up, measure the window, stop and join them.

    With `ops` the window reaches from the start to the end of the last worker.
    """
    cdef Cell* cell = crew.cell
    cdef long before
    if cell.ops != 0:
        # The window begins before the threads do: a first thread may be far on when the last one starts.
        window_begin(cell)
        crew_start(crew)
        crew_join(crew)
        window_end(cell, crew_done(crew), -1)
        return
    crew_start(crew)
    sleep_until_ns(now_ns() + <long>(cell.warmup * 1e9))
    before = crew_done(crew)
    window_begin(cell)
    # From the real beginning: on a busy machine we may have woken late, and the window must not be shorter for it.
    sleep_until_ns(cell.began.at_ns + <long>(cell.seconds * 1e9))
    window_end(cell, crew_done(crew) - before, -1)
    atomic_write(&crew.stop, 1)
    crew_join(crew)
