# Huge pages, and whether they pay.
# A huge page saves 511 faults, 0.2 to 0.9 ms of them, and normally takes 0.1 to 0.4 ms to be cleared; but where the
# kernel must compact memory first, or the host of a virtual machine has taken the memory away meanwhile, it takes 4 ms
# and more. So under the dense rule now and then a group of segments first asks for one, with the clock in hand: after a
# quick one the next groups get them without a test (a test makes memory resident that is perhaps not used), after a
# slow one they do without.
#
# The counters are relaxed and may be updated by several threads at once: they steer, nothing relies on them.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_store_relaxed_u32
from rtmalloc.core.base.config cimport RT_GROUP_BYTES, RT_GROUP_SEGMENTS, RT_HUGE_SHIFT, RT_SEGMENT_SHIFT
from rtmalloc.core.base.platform cimport rt_os_huge_pages, rt_os_populate, rt_os_split_huge, rt_os_thread_us
from rtmalloc.core.types cimport HugePages, PageHeap

cdef enum:
    HUGE_TRUST_LEAST = 4       # segments that get huge pages untested after the first quick one; it doubles with each further
    HUGE_TRUST_MOST = 256      # ... quick one, so that of n segments that nobody touches about 2 log n are made resident
    HUGE_PAUSE_LEAST = 64      # segments after the first slow huge page; it doubles with each further one
    HUGE_PAUSE_MOST = 1 << 16

cdef enum HugeAnswer:
    HUGE_REFUSED = 0           # they do not pay now
    HUGE_TRIED = 1             # the same, but one has just been made to find that out
    HUGE_WELCOME = 2


cdef inline uint32_t huge_pages_double(uint32_t segments, uint32_t least, uint32_t most) noexcept nogil:
    return least if segments < least else segments * 2 if segments < most else most


cdef inline void huge_pages_note(HugePages* h, bint slow) noexcept nogil:
    cdef uint32_t pause = 0
    cdef uint32_t trust = 0
    if slow:
        pause = huge_pages_double(rt_load_relaxed_u32(&h.pause), HUGE_PAUSE_LEAST, HUGE_PAUSE_MOST)
    else:
        trust = huge_pages_double(rt_load_relaxed_u32(&h.trust), HUGE_TRUST_LEAST, HUGE_TRUST_MOST)
    rt_store_relaxed_u32(&h.pause, pause)
    rt_store_relaxed_u32(&h.trust, trust)
    rt_store_relaxed_u32(&h.left, pause + trust)


cdef inline int huge_pages_ask(
    HugePages* h, char* p, uint32_t segments, uint32_t page_bytes, int64_t limit_us
) noexcept nogil:
    # Whether the `segments` that are opened at `p` should get huge pages (a HugeAnswer). `limit_us` is how long one may take
    # to appear, in microseconds of this thread; 0: as long as it likes.
    cdef size_t first = (<size_t>p + (<size_t>1 << RT_HUGE_SHIFT) - 1) >> RT_HUGE_SHIFT << RT_HUGE_SHIFT
    cdef size_t end = <size_t>p + (<size_t>segments << RT_SEGMENT_SHIFT)
    cdef uint32_t left = rt_load_relaxed_u32(&h.left)
    cdef uint64_t began
    if limit_us == 0:
        return HUGE_WELCOME
    if left or first + (<size_t>1 << RT_HUGE_SHIFT) > end:
        rt_store_relaxed_u32(&h.left, left - segments if left > segments else 0)
        return HUGE_REFUSED if rt_load_relaxed_u32(&h.pause) else HUGE_WELCOME
    rt_os_huge_pages(<void*>first, <size_t>1 << RT_HUGE_SHIFT, True)
    began = rt_os_thread_us()
    # (Kernels before 5.14 do not know the call: it fails at once, and counts as quick.)
    rt_os_populate(<void*>first, page_bytes)
    huge_pages_note(h, rt_os_thread_us() - began > <uint64_t>limit_us)
    return HUGE_TRIED if rt_load_relaxed_u32(&h.pause) else HUGE_WELCOME


cdef inline void huge_pages_split(PageHeap* ph, uint32_t s) noexcept nogil:
    # Before the first page of segment s goes back. Discarding part of a huge page leaves all of it with the process until
    # the kernel is short of memory (only RSS looks smaller), so it is split first; and no later fault brings one back.
    cdef uint32_t first = s & ~<uint32_t>(RT_GROUP_SEGMENTS - 1)
    cdef char* base = ph.base + (<size_t>first << RT_SEGMENT_SHIFT)
    cdef uint32_t i
    if rt_load_relaxed_u32(&ph.segments[s].huge):
        for i in range(RT_GROUP_SEGMENTS):
            rt_store_relaxed_u32(&ph.segments[first + i].huge, 0)
        rt_os_huge_pages(base, RT_GROUP_BYTES, False)
        for i in range(RT_GROUP_BYTES >> RT_HUGE_SHIFT):
            rt_os_split_huge(base + (<size_t>i << RT_HUGE_SHIFT))
