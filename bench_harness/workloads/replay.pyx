"""replay: what a program asked of its allocator, recorded (or read from a trace file), with its threads."""
from bench_harness.native.cell cimport (
    Cell, Params, Workload, cell_main, choice, file_name, metric, window_begin, window_end)
from bench_harness.native.trace.player cimport Play, play_new, play_run
from bench_harness.native.trace.reader cimport Trace, trace_head, trace_index

cdef Trace trace
cdef Play play
cdef bint recorded_pace


cdef void declare(Params* p) noexcept nogil:
    global recorded_pace
    cdef const char* path = file_name(p, b"file", b"compiler", b"a recording, a .rep file of Malloc Lab, or a text "
                                      b"of Android's memory_replay; a name without / is one of the harness's own")
    recorded_pace = choice(p, b"pace", b"fast|recorded", b"as fast as it goes, or at the times of the recording")
    if path != NULL:
        trace_head(&trace, path)
        p.takes = (1e-6 * <double>trace.head.microseconds if recorded_pace else
                   1e-7 * <double>trace.head.events + 1e-3)


cdef void body(Cell* cell) noexcept nogil:
    trace_index(&trace, cell)
    play_new(&play, cell, &trace, recorded_pace)
    window_begin(cell)
    play_run(&play)
    window_end(cell, <long>trace.head.events, <long>trace.head.end_bytes)
    metric(cell, b"peak_live_bytes", <double>trace.head.peak_bytes)
    metric(cell, b"recorded_threads", <double>trace.head.threads)
    metric(cell, b"handed_over", <double>trace.head.handed)


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Workload w = Workload(b"replay", b"what a program asked of its allocator, with its threads and hand-overs",
                               b"one recorded call", 1, declare, body)
    return cell_main(argc, argv, &w)
