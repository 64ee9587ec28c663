# Waiting for memory pressure from Python, as a part of _core.pyx: one thread waits for what the machine's sources say.

from rtmalloc.core.giveback.pressure cimport (
    RT_PRESSURE_CGROUP, RT_PRESSURE_EVENTS, RT_PRESSURE_FILE, RT_PRESSURE_SYSTEM, RT_PRESSURE_WAKE, rt_pressure_close,
    rt_pressure_look, rt_pressure_open, rt_pressure_pipe, rt_pressure_wake,
)
from rtmalloc.core.types cimport RT_PRESSURE_SOURCES, rt_pressure_source


PRESSURE_NAMES = {
    RT_PRESSURE_CGROUP: "cgroup memory.pressure",
    RT_PRESSURE_SYSTEM: "/proc/pressure/memory",
    RT_PRESSURE_EVENTS: "cgroup memory.events",
    RT_PRESSURE_FILE: "RTMALLOC_PRESSURE_FILE",
}


cdef class PressureWatch:
    """The sources of pressure that this machine offers, and a pipe to be woken by; for one thread that waits."""

    cdef rt_pressure_source sources[RT_PRESSURE_SOURCES]
    cdef rt_pressure_source wake_ends[2]
    cdef readonly uint32_t kinds

    def __cinit__(self, stall_ms):
        """Open them; ``kinds`` tells which there are. OSError when there is no descriptor left for the pipe."""
        cdef uint64_t stall = stall_ms
        memset(self.sources, 0, sizeof(self.sources))
        memset(self.wake_ends, 0, sizeof(self.wake_ends))
        if not rt_pressure_pipe(self.wake_ends):
            raise OSError("no pipe can be opened to wait for memory pressure")
        self.kinds = rt_pressure_open(self.sources, stall)

    def listen(self):
        """Let the allocator wake this watch when the kernel refuses memory; replaces an earlier one."""
        api().pressure_listen(&self.wake_ends[1])

    def unlisten(self):
        """Let the allocator wake nobody; to be called before ``close``."""
        api().pressure_listen(NULL)

    def wait(self):
        """Wait until a source speaks or somebody wakes us; (a source spoke, somebody woke us)."""
        cdef uint32_t bits
        with nogil:
            bits = rt_pressure_look(self.sources, &self.wake_ends[0], -1)
        return bool(bits & ~<uint32_t>RT_PRESSURE_WAKE), bool(bits & <uint32_t>RT_PRESSURE_WAKE)

    def wake(self):
        """End a ``wait``, now or the next one."""
        rt_pressure_wake(&self.wake_ends[1])

    def close(self):
        """Close all descriptors, when nobody waits any more."""
        cdef int i
        for i in range(RT_PRESSURE_SOURCES):
            rt_pressure_close(&self.sources[i])
        rt_pressure_close(&self.wake_ends[0])
        rt_pressure_close(&self.wake_ends[1])
