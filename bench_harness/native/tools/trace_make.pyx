"""trace_make: turns what the recorder wrote of a process into a trace that a cell can replay.

    trace_make TRACE SLICE_EVENTS INFO FILE[:UNTIL]...

The last FILE is the process; those before it are its ancestors, the oldest first, of which the first UNTIL events came
before the fork: the blocks that were live then are the first that the trace makes.
"""
from libc.stdint cimport uint64_t
from libc.stdlib cimport strtoul
from libc.string cimport memcpy, strlen, strrchr, strspn
from bench_harness.native.system cimport dprintf
from bench_harness.native.trace.format cimport RawEvent
from bench_harness.native.trace.story cimport Story, story_inherit, story_live, story_open, story_resolve
from bench_harness.native.trace.writer cimport Writer, writer_close, writer_open, writer_write

cdef enum:
    EXIT_FAILED = 1, EXIT_USAGE = 2
    PATH_MOST = 4096    # bytes
    FIXED = 4           # arguments before the first file, with the program's own name

cdef char[PATH_MOST] path
cdef Writer writer


cdef bint story_read(Story* s, const char* argument, RawEvent* blocks, uint64_t count) noexcept nogil:
    """Read FILE[:UNTIL], which begins with `count` blocks."""
    cdef const char* colon = strrchr(argument, c':')
    if colon != NULL and strspn(colon + 1, b"0123456789") != strlen(colon + 1):
        colon = NULL        # of a folder's name
    cdef size_t length = <size_t>(colon - argument) if colon != NULL else strlen(argument)
    if length >= PATH_MOST:
        return False
    memcpy(path, argument, length)
    path[length] = 0
    return (story_open(s, path, strtoul(colon + 1, NULL, 10) if colon != NULL else ~<uint64_t>0)
            and story_inherit(s, blocks, count) and story_resolve(s))


cdef public int main(int argc, char** argv) noexcept nogil:
    cdef Story story
    cdef RawEvent* blocks = NULL
    cdef uint64_t count = 0
    cdef int i
    if argc <= FIXED or strtoul(argv[2], NULL, 10) == 0:
        dprintf(2, "usage: trace_make TRACE SLICE_EVENTS INFO FILE[:UNTIL]...\n")
        return EXIT_USAGE
    for i in range(FIXED, argc):
        if not story_read(&story, argv[i], blocks, count):
            return EXIT_FAILED
        if i + 1 < argc:
            blocks = story_live(&story, &count)
            if blocks == NULL:
                dprintf(2, "no memory for the blocks that a fork found\n")
                return EXIT_FAILED
    if not writer_open(&writer, &story, argv[1], strtoul(argv[2], NULL, 10)):
        return EXIT_FAILED
    if not writer_write(&writer) or not writer_close(&writer, argv[3]):
        dprintf(2, "%s: could not be written to its end\n", argv[1])
        return EXIT_FAILED
    return 0
