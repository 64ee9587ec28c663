"""One cell: a process that runs one workload once and prints what it saw as one line of JSON.

A workload fills a `Workload` (name, description, `declare`, `body`) and hands it to `cell_main`. Its body calls
`run_workers` (threads.pxd) or drives its own phases, and records `mark`s (moments, with RSS) and `metric`s.
Command line: `name=value …`, `--describe` (followed by values it tells how long those take), and for the
harness `gate=1`: the cell waits, after it has printed its line, for end of file on standard input, so that its
/proc files can be read while it is still whole.
"""
from libc.string cimport memset, strcmp
from bench_harness.native.params cimport (
    EXIT_USAGE, Params, choice, file_name, integer, params_check, params_describe, real)
from bench_harness.native.system cimport (
    _exit, dprintf, latency_begin, latency_text, map_pages, now_ns, object_of, read, resident_bytes, status_bytes, usage_read)
from bench_harness.native.text cimport (
    Text, text_field, text_field_string, text_key, text_number, text_raw, text_send, text_string)

cdef enum:
    MARKS_MOST = 64
    METRICS_MOST = 64
    SAMPLES_MOST = 1200     # 2 minutes of ten looks a second
    EXIT_NO_MEMORY = 3
    EXIT_CORRUPT = 4


cdef struct Mark:
    const char* name
    long at_ns            # CLOCK_MONOTONIC
    long rss              # bytes, as the cell reads it itself
    long live             # bytes that the workload holds at this moment, -1 when it does not count them


cdef struct Sample:
    long at_ns
    long rss              # bytes


cdef struct Metric:
    const char* name
    double value


cdef struct Usage:
    long at_ns
    double user           # seconds of the whole process
    double system         # seconds
    long minor_faults
    long major_faults
    long involuntary      # context switches forced on us: a sign of a disturbed cell


cdef struct Cell:
    Params params
    long threads
    double seconds        # length of the measured window
    double warmup         # seconds before it
    long ops              # operations per thread instead of a clock; 0 means the clock
    long seed
    bint gate
    Usage began           # edges of the measured window
    Usage ended
    long paused_ns        # idle time inside the window that is nobody's work
    long operations       # inside the window, all threads
    long live             # bytes held at the window's end, -1 when not counted
    long window_rss       # bytes, at the window's end
    long own              # bytes of the harness's own tables (a part of every RSS)
    int marks
    int metrics
    int samples
    Mark[MARKS_MOST] mark
    Metric[METRICS_MOST] metric
    Sample[SAMPLES_MOST] sample     # only of a cell whose memory is not its own process's alone
    Text text


ctypedef void (*Declare)(Params*) noexcept nogil
ctypedef void (*Body)(Cell*) noexcept nogil

cdef struct Workload:
    const char* name
    const char* description
    const char* operation   # what one operation is
    long most_threads       # 1 for a workload that has only one thread to measure
    Declare declare
    Body body


cdef enum:
    THREADS_MOST = 4096     # for a workload that takes any number


cdef inline void usage_now(Usage* u) noexcept nogil:
    usage_read(&u.user, &u.system, &u.minor_faults, &u.major_faults, &u.involuntary)
    u.at_ns = now_ns()


cdef inline void window_begin(Cell* cell) noexcept nogil:
    """The measured window starts here, and with it the latency probe's count, which goes on until the cell's end."""
    latency_begin()
    usage_now(&cell.began)


cdef inline void window_end(Cell* cell, long operations, long live) noexcept nogil:
    """The window ends; `operations` were done inside it, `live` bytes are held now (-1: not counted)."""
    usage_now(&cell.ended)
    cell.operations = operations
    cell.live = live
    cell.window_rss = resident_bytes()


cdef inline void mark(Cell* cell, const char* name, long live) noexcept nogil:
    """Record this moment and the RSS now; the harness finds its outside samples by it."""
    cdef Mark* m
    if cell.marks < MARKS_MOST:
        m = &cell.mark[cell.marks]
        m.name = name
        m.live = live
        m.rss = resident_bytes()
        m.at_ns = now_ns()
        cell.marks += 1


cdef inline void metric(Cell* cell, const char* name, double value) noexcept nogil:
    """Record a named number; a name ends in its unit (`page_bound_bytes`, `refill_per_second`)."""
    if cell.metrics < METRICS_MOST:
        cell.metric[cell.metrics].name = name
        cell.metric[cell.metrics].value = value
        cell.metrics += 1


cdef inline void sample(Cell* cell, long at_ns, long rss) noexcept nogil:
    """Record what a group of processes holds; the harness takes these looks in place of its own at the cell."""
    if cell.samples < SAMPLES_MOST:
        cell.sample[cell.samples].at_ns = at_ns
        cell.sample[cell.samples].rss = rss
        cell.samples += 1


cdef inline void corrupt(const char* what) noexcept nogil:
    """What a block held has changed: the cell fails with a reason."""
    dprintf(2, "%s\n", what)
    _exit(EXIT_CORRUPT)


cdef inline void out_of_memory(size_t bytes) noexcept nogil:
    """The allocator returned NULL: the cell fails with a reason instead of a crash."""
    dprintf(2, "the allocator returned NULL for %zu bytes\n", bytes)
    _exit(EXIT_NO_MEMORY)


cdef inline void* cell_pages(Cell* cell, size_t bytes) noexcept nogil:
    """Zeroed pages of the harness's own, counted as such."""
    cdef void* p = map_pages(bytes)
    if p == NULL:
        out_of_memory(bytes)
    cell.own += <long>bytes
    return p


cdef inline void cell_print(Cell* cell, const Workload* w) noexcept nogil:
    cdef Text* t = &cell.text
    # The high-water mark first: looking up symbols below may touch pages that are not the workload's.
    cdef long peak = status_bytes(b"VmHWM:")
    cdef long rss = resident_bytes()
    cdef const char* latency = latency_text()
    cdef int i
    # The kernel keeps RSS in per-CPU counters that lag by some pages: what we saw ourselves is a lower bound too.
    peak = peak if peak > cell.window_rss else cell.window_rss
    for i in range(cell.marks):
        peak = peak if peak > cell.mark[i].rss else cell.mark[i].rss
    t.used = 0
    text_raw(t, b"{")
    text_field_string(t, b"workload", w.name)
    text_key(t, b"parameters")
    text_raw(t, b"{")
    for i in range(cell.params.count):
        if cell.params.at[i].text != NULL:
            text_field_string(t, cell.params.at[i].name, cell.params.at[i].text)
        else:
            text_field(t, cell.params.at[i].name, cell.params.at[i].value)
    text_raw(t, b"}")
    text_field(t, b"threads", <double>cell.threads)
    text_field(t, b"operations", <double>cell.operations)
    text_field(t, b"began_ns", <double>cell.began.at_ns)
    text_field(t, b"ended_ns", <double>cell.ended.at_ns)
    text_field(t, b"seconds", <double>(cell.ended.at_ns - cell.began.at_ns - cell.paused_ns) * 1e-9)
    text_field(t, b"user_seconds", cell.ended.user - cell.began.user)
    text_field(t, b"system_seconds", cell.ended.system - cell.began.system)
    text_field(t, b"minor_faults", <double>(cell.ended.minor_faults - cell.began.minor_faults))
    text_field(t, b"major_faults", <double>(cell.ended.major_faults - cell.began.major_faults))
    text_field(t, b"involuntary_switches", <double>(cell.ended.involuntary - cell.began.involuntary))
    text_field(t, b"peak_rss_bytes", <double>peak)
    text_field(t, b"window_rss_bytes", <double>cell.window_rss)
    text_field(t, b"end_rss_bytes", <double>rss)
    text_field(t, b"live_bytes", <double>cell.live)
    text_field(t, b"harness_bytes", <double>cell.own)
    text_key(t, b"metrics")
    text_raw(t, b"{")
    for i in range(cell.metrics):
        text_field(t, cell.metric[i].name, cell.metric[i].value)
    text_raw(t, b"}")
    text_key(t, b"marks")
    text_raw(t, b"[")
    for i in range(cell.marks):
        text_raw(t, b"{" if i == 0 else b",{")
        text_field_string(t, b"name", cell.mark[i].name)
        text_field(t, b"at_ns", <double>cell.mark[i].at_ns)
        text_field(t, b"rss_bytes", <double>cell.mark[i].rss)
        text_field(t, b"live_bytes", <double>cell.mark[i].live)
        text_raw(t, b"}")
    text_raw(t, b"]")
    if cell.samples > 0:
        text_key(t, b"samples")
        text_raw(t, b"[")
        for i in range(cell.samples):
            text_raw(t, b"[" if i == 0 else b",[")
            text_number(t, <double>cell.sample[i].at_ns)
            text_raw(t, b",")
            text_number(t, <double>cell.sample[i].rss)
            text_raw(t, b"]")
        text_raw(t, b"]")
    if latency != NULL:
        text_key(t, b"latency")
        text_raw(t, latency)
    text_field_string(t, b"malloc_object", object_of(b"malloc"))
    text_field_string(t, b"free_object", object_of(b"free"))
    text_raw(t, b"}")
    text_send(t)


cdef inline void cell_describe(Cell* cell, const Workload* w) noexcept nogil:
    cdef Text* t = &cell.text
    t.used = 0
    text_raw(t, b"{")
    text_field_string(t, b"name", w.name)
    text_field_string(t, b"description", w.description)
    text_field_string(t, b"operation", w.operation)
    text_field(t, b"takes_seconds", cell.params.takes)
    params_describe(&cell.params, t)
    text_raw(t, b"}")
    text_send(t)


cdef inline int cell_main(int argc, char** argv, const Workload* w) noexcept nogil:
    """The `main` of every native cell: 0; ends with status 2 for a bad argument, 3 out of memory, 4 corrupt blocks."""
    cdef Cell cell
    cdef Params* p = &cell.params
    cdef char byte
    # Everything but the text buffer, whose pages should not count before they are needed.
    memset(&cell, 0, <size_t>(<char*>&cell.text - <char*>&cell))
    p.argc = argc
    p.argv = argv
    p.describe = argc >= 2 and strcmp(argv[1], b"--describe") == 0
    cell.live = -1
    w.declare(p)
    cell.threads = integer(p, b"threads", 1, 1, w.most_threads, b"threads", b"worker threads")
    cell.seconds = real(p, b"seconds", 1, 0.001, 3600, b"s", b"length of the measured window")
    cell.warmup = real(p, b"warmup", 0.2, 0, 600, b"s", b"time before the window")
    cell.ops = integer(p, b"ops", 0, 0, 1 << 50, b"operations",
                       b"operations per thread instead of the clock: the same work in every run; 0 = clock")
    cell.seed = integer(p, b"seed", 4141, 0, 1 << 50, b"", b"seed of every random number")
    cell.gate = integer(p, b"gate", 0, 0, 1, b"", b"1: wait for end of input before exit") != 0
    if p.describe:
        cell_describe(&cell, w)
        return 0
    params_check(p)
    w.body(&cell)
    cell_print(&cell, w)
    while cell.gate and read(0, &byte, 1) > 0:
        pass
    # Not exit(): handlers of the preloaded library may print, and the work is done.
    _exit(0)
    return 0
