"""Fill memory with small blocks, free most of them, and wait: what the workloads burst and phases are made of."""
from libc.stdint cimport uint32_t
from bench_harness.native.cell cimport Cell, mark
from bench_harness.native.random cimport Rng, below, rng_next
from bench_harness.native.sizes cimport Sizes, size_from
from bench_harness.native.slots cimport Slots, slot_clear, slot_fill, slot_move, slots_live, slots_new
from bench_harness.native.system cimport now_ns, sleep_until_ns

cdef extern from "malloc.h" nogil:
    int malloc_trim(size_t)

cdef enum:
    TRICKLE_STEP_NS = 10_000_000    # later calls come in small groups, every 10 ms
    IDLE_MARKS = 6


cdef struct IdleMark:
    long at_ms
    const char* name


cdef struct Heap:
    Slots slots
    long used               # slots filled so far, from the first on; freed ones among them are NULL
    long calls              # of malloc and free
    long counted            # slots that the cell counts as its own memory: the most that were ever used


cdef inline void heap_new(Cell* cell, Heap* h, long bytes, const Sizes* sizes) noexcept nogil:
    """Room for `bytes` of blocks of these sizes, with a margin for chance."""
    cdef long mean = sizes.smallest + sizes.span // 2
    cdef long own = cell.own
    slots_new(cell, &h.slots, bytes // mean + bytes // mean // 8 + 1000)
    cell.own = own      # only the slots in use are resident: see heap_account
    h.used = h.calls = h.counted = 0


cdef inline void heap_account(Cell* cell, Heap* h) noexcept nogil:
    """Count the part of the table that was touched so far as the harness's own memory."""
    if h.used > h.counted:
        cell.own += (h.used - h.counted) * <long>sizeof(void*)
        h.counted = h.used


cdef inline void heap_fill(Heap* h, long bytes, const Sizes* sizes, Rng* rng) noexcept nogil:
    """Allocate new blocks until they hold `bytes` together (or the table is full)."""
    cdef uint32_t size
    while bytes > 0 and h.used < h.slots.count:
        size = size_from(sizes, <uint32_t>(rng_next(rng) >> 32))
        slot_fill(&h.slots, h.used, size)
        bytes -= size
        h.used += 1
        h.calls += 1


cdef inline void heap_thin(Heap* h, long percent, bint by_age, Rng* rng) noexcept nogil:
    """Free this share of the blocks: at random, or the oldest ones."""
    cdef long i
    for i in range(h.used):
        if h.slots.block[i] != NULL and (i < h.used * percent // 100 if by_age
                                         else below(rng, 100) < <uint32_t>percent):
            slot_clear(&h.slots, i)
            h.calls += 1


cdef struct Ring:
    Slots slots
    long oldest             # the slot whose block is the next to be freed


cdef inline void ring_new(Cell* cell, Ring* ring, long bytes, const Sizes* sizes) noexcept nogil:
    """Room for about `bytes` of blocks of these sizes, which come and go in the order of their age."""
    slots_new(cell, &ring.slots, bytes // (sizes.smallest + sizes.span // 2) + 1)
    ring.oldest = 0


cdef inline long ring_live(const Ring* ring) noexcept nogil:
    """Bytes asked for of the blocks in the ring."""
    return slots_live(&ring.slots)


cdef inline void heap_move(Cell* cell, Heap* h, Ring* ring, long percent, Rng* rng) noexcept nogil:
    """Empty the heap: this share of its blocks, drawn at random, go to the ring, whose oldest are freed for them."""
    cdef long i
    heap_account(cell, h)
    for i in range(h.used):
        h.calls += 1
        if below(rng, 100) >= <uint32_t>percent:
            slot_clear(&h.slots, i)
            continue
        slot_clear(&ring.slots, ring.oldest)
        slot_move(&h.slots, i, &ring.slots, ring.oldest)
        ring.oldest = (ring.oldest + 1) % ring.slots.count
    h.used = 0


cdef inline void heap_idle(Cell* cell, Heap* h, double seconds, long trickle, const Sizes* sizes,
                           Rng* rng) noexcept nogil:
    """Wait, with `trickle` malloc and free pairs per second, and mark 0, 0.25, 0.5, 1, 2 and 5 s of it."""
    cdef long began = now_ns(), at = began, live = slots_live(&h.slots), owed = 0, k = 0
    cdef IdleMark[IDLE_MARKS] due = [
        IdleMark(0, b"idle 0 s"), IdleMark(250, b"idle 0.25 s"), IdleMark(500, b"idle 0.5 s"),
        IdleMark(1000, b"idle 1 s"), IdleMark(2000, b"idle 2 s"), IdleMark(5000, b"idle 5 s")]
    cdef Slots one
    cdef void* p
    one.count, one.block = 1, &p
    while True:
        while k < IDLE_MARKS and at - began >= due[k].at_ms * 1_000_000:
            mark(cell, due[k].name, live)
            k += 1
        if at - began >= <long>(seconds * 1e9):
            return
        at += TRICKLE_STEP_NS
        sleep_until_ns(at)
        owed += trickle
        while owed >= 100:      # the rate is per second, a step is a hundredth of one
            slot_fill(&one, 0, size_from(sizes, <uint32_t>(rng_next(rng) >> 32)))
            slot_clear(&one, 0)
            owed -= 100
