"""Plays a trace: every thread its own operations, with hand-overs and order between the threads as they were recorded.

Three rules keep the order. (1) A thread plays its operations in their order. (2) Who frees or resizes a block of
another thread waits until that block is there. (3) A thread begins slice k only when all threads have played slices
0 to k-2 to their end, so no thread is ever two slices ahead, and what is live at once differs from the recording by
the blocks of two slices at most. Each wait is for something with an earlier place in the recorded order, so no two
threads can wait for each other.

A thread begins when its first slice may begin, and ends with its last operation if the recorded one did end.
"""
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdio cimport snprintf
from bench_harness.native.cell cimport Cell, cell_pages, mark, out_of_memory
from bench_harness.native.system cimport (
    atomic_add, atomic_read_acquire, atomic_write_release, blocks_overlap, now_ns, pthread_cond_broadcast,
    pthread_cond_init, pthread_cond_t, pthread_cond_wait, pthread_create, pthread_mutex_init, pthread_mutex_lock,
    pthread_mutex_t, pthread_mutex_unlock, pthread_self, pthread_t, sched_yield, sleep_until_ns, spin_pause,
    unmap_pages)
from bench_harness.native.trace.blocks cimport (
    LAST_BYTE, WHOLE, block_aligned, block_calloc, block_free, block_malloc, block_realloc)
from bench_harness.native.trace.format cimport (
    OP_ALIGNED, OP_CALLOC, OP_FREE, OP_KIND, OP_MALLOC, OP_NEW_SHARED, OP_REALLOC, OP_SHARED, OP_TIME, OP_TOUCHED,
    TraceSegment, get_number)
from bench_harness.native.trace.reader cimport Trace, trace_refuse

cdef extern from "bench_harness/native/trace/files.h" nogil:
    bint file_read_at(int, void*, size_t, uint64_t)

cdef extern from "pthread.h" nogil:
    int pthread_detach(pthread_t)

cdef enum:
    NO_ADDRESS = LAST_BYTE  # in a shared slot: a block of no bytes, for which the allocator returned NULL
    SPINS = 200             # looks at a hand-over before the thread lets others run
    YIELDS = 100            # and so often before it sleeps
    NAP_NS = 20_000
    QUARTERS = 4            # of the slices, with a mark each
    NAME = 8                # bytes of a mark's name


cdef struct Player:
    Play* play
    uint64_t thread
    uintptr_t* own          # slots of this thread
    unsigned char* data     # the segment under way
    long own_bytes
    long data_bytes
    bint started


cdef struct Play:
    Cell* cell
    Trace* trace
    Player* player          # by thread
    long* shared            # slots of all threads; written by one thread, read by another
    bint recorded_pace
    bint check              # what blocks hold: not where they overlap
    long began_ns
    long frontier           # slices 0 .. frontier-1 are played by all
    long left               # threads that are done and have given their memory back
    long marked             # quarters
    char[QUARTERS][NAME] name
    pthread_mutex_t lock    # of the frontier's advance
    pthread_cond_t advanced


cdef inline void play_new(Play* p, Cell* cell, Trace* trace, bint recorded_pace) noexcept nogil:
    """A play of the trace that has not yet begun."""
    cdef uint64_t i
    p.cell, p.trace, p.recorded_pace = cell, trace, recorded_pace
    p.check = not blocks_overlap()
    p.frontier = p.marked = p.left = 0
    p.shared = <long*>cell_pages(cell, trace.head.shared_slots * sizeof(long))
    p.player = <Player*>cell_pages(cell, trace.head.threads * sizeof(Player))
    pthread_mutex_init(&p.lock, NULL)
    pthread_cond_init(&p.advanced, NULL)
    for i in range(trace.head.threads):
        p.player[i].play = p
        p.player[i].thread = i


cdef inline void player_prepare(Player* r) noexcept nogil:
    """Memory of a thread that is about to begin: its slots, and room for its longest segment."""
    cdef Trace* t = r.play.trace
    cdef uint64_t i, longest = 0
    for i in range(t.first[r.thread], t.first[r.thread + 1]):
        longest = t.segment[i].bytes if t.segment[i].bytes > longest else longest
    r.own_bytes = <long>(t.thread[r.thread].slots * sizeof(uintptr_t))
    r.data_bytes = <long>longest
    r.own = <uintptr_t*>cell_pages(r.play.cell, r.own_bytes)
    r.data = <unsigned char*>cell_pages(r.play.cell, r.data_bytes)
    r.started = True


cdef inline void player_leave(Player* r) noexcept nogil:
    """Give a thread's memory back: thousands may follow each other."""
    cdef Play* p = r.play
    unmap_pages(r.own, r.own_bytes)
    unmap_pages(r.data, r.data_bytes)
    pthread_mutex_lock(&p.lock)
    p.cell.own -= r.own_bytes + r.data_bytes
    p.left += 1
    pthread_cond_broadcast(&p.advanced)
    pthread_mutex_unlock(&p.lock)


cdef inline void play_start_due(Play* p) noexcept nogil:
    """Start the threads whose first slice may begin now; `lock` is held, or nobody else plays yet."""
    cdef Trace* t = p.trace
    cdef pthread_t unused
    cdef uint64_t i
    for i in range(1, t.head.threads):
        if not p.player[i].started and t.segment[t.first[i]].slice <= p.frontier + 1:
            player_prepare(&p.player[i])
            if pthread_create(&unused, NULL, player_enter, &p.player[i]) != 0:
                out_of_memory(0)


cdef inline void play_advance(Play* p) noexcept nogil:
    """A slice is played by all: move the frontier behind it and those that follow, and wake who waits for that."""
    cdef Trace* t = p.trace
    cdef long slices = <long>t.head.slices
    pthread_mutex_lock(&p.lock)
    while p.frontier < slices and atomic_read_acquire(&t.pending[p.frontier]) == 0:
        atomic_write_release(&p.frontier, p.frontier + 1)
    play_start_due(p)
    play_mark(p)
    pthread_cond_broadcast(&p.advanced)
    pthread_mutex_unlock(&p.lock)


cdef inline void play_mark(Play* p) noexcept nogil:
    """Mark each quarter of the slices."""
    while p.marked < QUARTERS and p.frontier * QUARTERS >= (p.marked + 1) * <long>p.trace.head.slices:
        p.marked += 1
        snprintf(p.name[p.marked - 1], NAME, b"%ld %%", 100 * p.marked // QUARTERS)
        mark(p.cell, p.name[p.marked - 1], -1)


cdef inline void player_await_slice(Player* r, long slice) noexcept nogil:
    """Rule 3."""
    cdef Play* p = r.play
    if slice <= atomic_read_acquire(&p.frontier) + 1:
        return
    pthread_mutex_lock(&p.lock)
    while slice > p.frontier + 1:
        pthread_cond_wait(&p.advanced, &p.lock)
    pthread_mutex_unlock(&p.lock)


cdef inline void player_await_moment(Player* r, uint64_t microseconds) noexcept nogil:
    """At the recorded pace: wait until so much time has passed since the begin."""
    if r.play.recorded_pace:
        sleep_until_ns(r.play.began_ns + <long>microseconds * 1000)


cdef inline uintptr_t shared_take(long* slot) noexcept nogil:
    """Rule 2: the block in a shared slot, which is empty then; waits until it is there."""
    cdef long tries = 0, held
    while True:
        held = atomic_read_acquire(slot)
        if held != 0:
            atomic_write_release(slot, 0)
            return <uintptr_t>held
        tries += 1
        if tries < SPINS:
            spin_pause()
        elif tries < SPINS + YIELDS:
            sched_yield()
        else:
            sleep_until_ns(now_ns() + NAP_NS)


cdef inline uintptr_t slot_take(Player* r, uint64_t slot, bint shared) noexcept nogil:
    return shared_take(&r.play.shared[slot]) if shared else r.own[slot]


cdef inline void slot_put(Player* r, uint64_t slot, bint shared, uintptr_t held) noexcept nogil:
    """A shared slot is never left empty: malloc(0) may return NULL, and its free would wait for ever."""
    if shared:
        atomic_write_release(&r.play.shared[slot], <long>held if held != 0 else NO_ADDRESS)
    else:
        r.own[slot] = held


cdef inline const unsigned char* player_do(Player* r, const unsigned char* at) noexcept nogil:
    """One operation that is no OP_TIME; returns where the next one begins."""
    cdef bint check = r.play.check
    cdef int flags = at[0], kind = flags & OP_KIND
    cdef uint64_t slot, size, old_slot = 0, extra = 0, pages = WHOLE
    cdef uintptr_t held
    at += 1
    slot = get_number(&at)
    if kind == OP_FREE:
        block_free(slot_take(r, slot, flags & OP_SHARED), <unsigned char>slot, check)
        return at
    if kind == OP_REALLOC:
        old_slot = slot
        slot = get_number(&at)
    size = get_number(&at)
    if kind >= OP_ALIGNED:      # an alignment's logarithm, or realloc's old size
        extra = get_number(&at)
    if flags & OP_TOUCHED:
        pages = get_number(&at)
    if kind == OP_MALLOC:
        held = block_malloc(size, pages, <unsigned char>slot)
    elif kind == OP_CALLOC:
        held = block_calloc(size, pages, <unsigned char>slot, check)
    elif kind == OP_ALIGNED:
        held = block_aligned(size, extra, pages, <unsigned char>slot)
    else:
        held = block_realloc(slot_take(r, old_slot, flags & OP_SHARED), extra, <unsigned char>old_slot, size, pages,
                             <unsigned char>slot, check)
        flags = OP_SHARED if flags & OP_NEW_SHARED else 0
    slot_put(r, slot, flags & OP_SHARED, held)
    return at


cdef inline void player_play_segment(Player* r, const TraceSegment* s) noexcept nogil:
    """All operations of one slice."""
    cdef const unsigned char* at = r.data
    cdef uint64_t moment = s.microseconds
    cdef uint32_t left = s.events
    if not file_read_at(r.play.trace.fd, r.data, s.bytes, s.at):
        trace_refuse(r.play.trace.path, b"a segment cannot be read")
    player_await_moment(r, moment)
    while left > 0:
        if at[0] == OP_TIME:
            at += 1
            moment += get_number(&at)
            player_await_moment(r, moment)
        else:
            at = player_do(r, at)
            left -= 1


cdef inline void player_play(Player* r) noexcept nogil:
    """All segments of a thread."""
    cdef Trace* t = r.play.trace
    cdef uint64_t i
    for i in range(t.first[r.thread], t.first[r.thread + 1]):
        player_await_slice(r, t.segment[i].slice)
        player_play_segment(r, &t.segment[i])
        if atomic_add(&t.pending[t.segment[i].slice], -1) == 1:
            play_advance(r.play)


cdef inline void play_await_end(Play* p) noexcept nogil:
    """Until every slice is played by all, and their memory given back."""
    pthread_mutex_lock(&p.lock)
    while p.left < <long>p.trace.head.threads:
        pthread_cond_wait(&p.advanced, &p.lock)
    pthread_mutex_unlock(&p.lock)


cdef inline void* player_enter(void* argument) noexcept nogil:
    """A thread other than the first: it plays, and stays until the end if the recorded one did."""
    cdef Player* r = <Player*>argument
    pthread_detach(pthread_self())
    player_play(r)
    player_leave(r)
    if not r.play.trace.thread[r.thread].ends:
        play_await_end(r.play)
    return NULL


cdef inline void play_run(Play* p) noexcept nogil:
    """Play from the begin to the end; the first thread is the calling one, as a program's main thread is."""
    p.began_ns = now_ns()
    if p.trace.head.slices == 0:
        return
    player_prepare(&p.player[0])
    pthread_mutex_lock(&p.lock)
    play_start_due(p)
    pthread_mutex_unlock(&p.lock)
    player_play(&p.player[0])
    player_leave(&p.player[0])
    play_await_end(p)
