# The profiles of sizes and of the heap from Python, as a part of _core.pyx.

from rtmalloc.core.types cimport ProfileBucket

cdef extern from "profile/python_frames.h":
    const void* rt_python_walk_here() noexcept


def profile_start(every):
    """Begin a recording that follows one request in ``every``; False when there is no memory for it."""
    return bool(api().profile_start(every))


def profile_stop():
    """End the recording; what it counted can still be read."""
    api().profile_stop()


def profile_read():
    """(recording, every, milliseconds), the small and the large buckets of the profile, as docs/profiles.md has them."""
    cdef uint64_t state[5]
    cdef uint64_t large[3]
    cdef ProfileBucket b
    cdef uint32_t i
    api().profile_state(state)
    small = []
    for i in range(state[3]):
        if api().profile_small(i, &b):
            small.append(
                (i * 16, b.samples, b.requests, b.bytes, b.live, b.live_bytes, b.life, b.byte_life)
            )
    found = []
    for i in range(state[4]):
        if api().profile_large(i, large):
            found.append((large[0], large[1], large[2]))
    return (bool(state[0]), state[1], state[2]), small, found


def heap_dump_into(file):
    """Write the heap profile to a file descriptor; False when none is recorded. OSError when it cannot be written."""
    cdef const rt_api* a = api()
    cdef int descriptor = file
    cdef int failed
    with nogil:
        failed = a.heap_dump(descriptor)
    if failed < 0:
        raise OSError("the heap profile could not be written in full")
    return failed == 0


def heap_finish():
    """Write the heap profile to the directory that ``RTMALLOC_HEAP_PROFILE`` names, for the last time."""
    cdef const rt_api* a = api()
    with nogil:
        a.heap_finish()


# Heap profiles have Python frames from now on, or say that this interpreter's are not known (profile/python_frames.h).
api().python_walk(rt_python_walk_here())
