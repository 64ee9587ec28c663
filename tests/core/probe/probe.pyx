# cython: language_level=3, cdivision=True
"""Thin handles on the layers of the core, for the tests: each object here owns its instance of a layer.

Compiled by tests/core/probing.py against the checkout's own .pxd files, so what is tested is what is built in.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from rtmalloc.core.base cimport bitmap
from rtmalloc.core.base._options cimport RT_OPTION_address_order, RT_OPTION_muzzy_decay_ms
from rtmalloc.core.base.config cimport RT_SLICE_BYTES, RT_SLICE_WORDS
from rtmalloc.core.base.platform cimport rt_os_map, rt_os_map_at, rt_os_unmap
from rtmalloc.core.base.radix cimport radix_get, radix_set, radix_take
from rtmalloc.core.base.size_class cimport class_of_aligned, class_of_size, rt_class_count, rt_class_size, rt_class_slices
from rtmalloc.core.giveback.batch cimport Batch, batch_flush, batch_open
from rtmalloc.core.giveback.purge cimport QUIET_NEVER, purge_for_peak, purge_segment
from rtmalloc.core.pages cimport segment
from rtmalloc.core.pages.growth cimport SEGMENTS_GIVE_UP, growth_give_up_all
from rtmalloc.core.pages.page_heap cimport (
    page_heap_dirty_in, page_heap_extend, page_heap_give, page_heap_open, page_heap_opened, page_heap_take,
    page_heap_take_aligned,
)
from rtmalloc.core.pages.summary cimport SLICE_NONE, summary_bytes, summary_word
from rtmalloc.core.spans.span cimport (
    span_claim, span_claim_all, span_form, span_full_mask, span_has_free, span_is_whole, span_object_at,
)
from rtmalloc.core.spans.span_queue cimport span_queue_insert, span_queue_remove, span_queue_take
from rtmalloc.core.spans.transfer_cache cimport transfer_drain, transfer_give, transfer_take
from rtmalloc.core.types cimport Allocator, PageHeap, RadixMap, Rise, Segment, Span


# What the locks would call in a copy of the process (calls/fork.pxd): no test makes one.
cdef inline void probe_mend "rt_mend"() noexcept nogil:
    pass


cdef inline void probe_give_up "rt_fork_give_up"() noexcept nogil:
    pass


SLICE_BYTES = RT_SLICE_BYTES
SLICE_WORDS = RT_SLICE_WORDS
SEGMENT_SLICES = segment.SEGMENT_SLICES
RUN_NONE = bitmap.RUN_NONE


# ---- bitmap: pure functions

def mask_low(uint32_t count): return bitmap.mask_low(count)
def mask_run(uint32_t first, uint32_t count): return bitmap.mask_run(first, count)
def mask_lowest(uint64_t mask, uint32_t count): return bitmap.mask_lowest(mask, count)
def run_starts(uint64_t mask, uint32_t count): return bitmap.run_starts(mask, count)
def run_find(uint64_t mask, uint32_t count): return bitmap.run_find(mask, count)
def run_length(uint64_t mask, uint32_t first): return bitmap.run_length(mask, first)
def run_level(uint64_t mask): return bitmap.run_level(mask)
def level_of(uint32_t count): return bitmap.level_of(count)
def count_bits(uint64_t mask): return bitmap.rt_count_bits(mask)
def lowest_bit(uint64_t mask): return bitmap.rt_lowest_bit(mask)
def highest_bit(uint64_t mask): return bitmap.rt_highest_bit(mask)


# ---- page heap, purge and transfer cache, on real memory

cdef struct Ground:
    # Where segments are mapped on demand, and from how many segments on a request is refused.
    char* base
    uint32_t most


cdef int ground_open(void* context, uint32_t first, uint32_t count, int how) noexcept nogil:
    cdef Ground* ground = <Ground*>context
    cdef size_t segment_bytes = <size_t>RT_SLICE_BYTES * 64
    cdef char* at = ground.base + first * segment_bytes
    if how != SEGMENTS_GIVE_UP and count >= ground.most:
        return -1
    if how != SEGMENTS_GIVE_UP:
        return rt_os_map_at(at, count * segment_bytes)
    rt_os_unmap(at, count * segment_bytes)
    return 0


cdef class Pages:
    """A page heap of ``limit`` segments with a purger and a transfer cache, over memory of its own."""

    cdef Allocator* a
    cdef Ground ground
    cdef size_t bytes
    cdef char* mapping
    cdef size_t mapped
    cdef void* segments
    cdef void* summaries

    def __cinit__(self, uint32_t limit, bint on_demand=False):
        cdef size_t segment_bytes = <size_t>RT_SLICE_BYTES * 64
        self.a = <Allocator*>calloc(1, sizeof(Allocator))
        self.segments = calloc(limit, sizeof(Segment))
        self.summaries = calloc(1, summary_bytes(limit))
        self.bytes = limit * segment_bytes
        self.mapped = self.bytes + 8 * segment_bytes
        self.mapping = <char*>rt_os_map(self.mapped)
        if not self.a or not self.segments or not self.summaries or not self.mapping:
            raise MemoryError
        base = (<size_t>self.mapping + 8 * segment_bytes - 1) // (8 * segment_bytes) * (8 * segment_bytes)
        self.a.arena.base = <char*><size_t>base
        self.a.arena.slice_count = limit * 64
        self.a.arena.page_bytes = 4096
        if on_demand:
            rt_os_unmap(self.mapping, self.mapped)
            self.mapping = NULL
        page_heap_open(
            &self.a.arena.pages, <char*><size_t>base, limit, <Segment*>self.segments, self.summaries
        )
        self.a.options.value[RT_OPTION_address_order] = 1
        self.a.arena.pages.address_order = &self.a.options.value[RT_OPTION_address_order]
        if on_demand:
            self.ground.base = <char*><size_t>base
            self.ground.most = limit + 1
            self.a.arena.pages.hook = ground_open
            self.a.arena.pages.hook_context = &self.ground

    def __dealloc__(self):
        if self.mapping != NULL:
            rt_os_unmap(self.mapping, self.mapped)
        elif self.a != NULL and self.a.arena.base != NULL:
            rt_os_unmap(self.a.arena.base, self.bytes)
        free(self.a)
        free(self.segments)
        free(self.summaries)

    cdef PageHeap* pages(self):
        return &self.a.arena.pages

    def take(self, uint32_t count):
        cdef uint32_t slice = page_heap_take(self.pages(), count)
        return None if slice == SLICE_NONE else slice

    def take_aligned(self, uint32_t count, uint32_t alignment):
        cdef Rise rise
        cdef uint32_t slice = page_heap_take_aligned(self.pages(), count, alignment, &rise)
        return None if slice == SLICE_NONE else slice

    def take_large(self, uint32_t count):
        """As a large block: a new peak is met by giving dirty slices back. The run's first slice, and the rise."""
        cdef Rise rise
        cdef uint32_t slice = page_heap_take_aligned(self.pages(), count, 1, &rise)
        purge_for_peak(self.a, &rise)
        return None if slice == SLICE_NONE else slice, rise.slices

    def give(self, uint32_t slice, uint32_t count):
        page_heap_give(self.pages(), slice, count)

    def extend(self, uint32_t slice, uint32_t count, uint32_t more):
        cdef Rise rise
        return bool(page_heap_extend(self.pages(), slice, count, more, &rise))

    def dirty_in(self, uint32_t slice, uint32_t count):
        return page_heap_dirty_in(self.pages(), slice, count)

    def age(self, bint everything, bint muzzy, bint muzzy_step=True):
        """One decay step of every segment, with ``muzzy_step`` one of muzzy slices as well; the number of runs."""
        cdef uint32_t s
        cdef uint32_t calls = 0
        self.a.options.value[RT_OPTION_muzzy_decay_ms] = 1 if muzzy else 0
        self.a.purge.muzzy_step = muzzy_step
        cdef Batch b
        batch_open(&b)
        for s in range(page_heap_opened(self.pages())):
            calls += purge_segment(self.a, &b, s, everything, QUIET_NEVER)
        batch_flush(self.a, &b)
        return calls

    def next_fit(self, bint wanted):
        """Whether runs are looked for where the last one was taken or given back (option address_order=0)."""
        self.a.options.value[RT_OPTION_address_order] = not wanted

    def give_up(self):
        """Give up the addresses of wholly free groups of segments; how many segments."""
        return growth_give_up_all(self.pages())

    def refuse(self, bint refuse, uint32_t least=1):
        """Whether memory for `least` further segments in a row is refused from now on."""
        self.ground.most = least if refuse else self.pages().limit + 1

    def occupy(self, uint32_t s):
        """Map a page, with content, where segment s has its last one."""
        cdef char* at = self.ground.base + (s + 1) * <size_t>RT_SLICE_BYTES * 64 - 4096
        if rt_os_map_at(at, 4096):
            raise MemoryError
        at[0] = 42

    def foreign_is_whole(self, uint32_t s):
        """Whether that page still has its content."""
        return (self.ground.base + (s + 1) * <size_t>RT_SLICE_BYTES * 64 - 4096)[0] == 42

    @property
    def base(self):
        return <size_t>self.a.arena.base

    @property
    def peak_allowance(self):
        """Slices that may go back for the peak's sake, as of the last time that some did."""
        return self.a.purge.peak_allowance

    @property
    def counters(self):
        """Opened segments, used slices, the most of used and dirty ones, dirty free slices."""
        cdef PageHeap* ph = self.pages()
        return ph.opened, ph.used_slices, ph.peak_slices, ph.dirty_slices

    def segment(self, uint32_t s):
        """The words (free, dirty, old, muzzy) of a segment, whose own check must hold."""
        cdef Segment* at = &self.pages().segments[s]
        if not segment.segment_is_valid(at):
            raise AssertionError(f"segment {s} is not valid: {at.free:#x} {at.dirty:#x} {at.old:#x} {at.muzzy:#x}")
        return at.free, at.dirty, at.old, at.muzzy

    def summary(self, uint32_t which, uint32_t level, uint32_t s):
        """Whether the summary says that segment s has a run of at least 2**level slices."""
        return bool(summary_word(self.pages(), which, level, s >> 6)[0] >> (s & 63) & 1)

    def poke(self, uint32_t slice, uint8_t value):
        """Write to the first and last byte of a slice."""
        cdef char* at = self.a.arena.base + <size_t>slice * RT_SLICE_BYTES
        at[0] = <char>value
        at[RT_SLICE_BYTES - 1] = <char>value

    def peek(self, uint32_t slice):
        """The first and last byte of a slice."""
        cdef uint8_t* at = <uint8_t*>self.a.arena.base + <size_t>slice * RT_SLICE_BYTES
        return at[0], at[RT_SLICE_BYTES - 1]

    # the transfer cache in front of it
    def transfer_take(self, uint32_t slices):
        cdef uint32_t slice = transfer_take(&self.a.transfer, slices)
        return None if slice == SLICE_NONE else slice

    def transfer_give(self, uint32_t slice, uint32_t slices, uint32_t room):
        return bool(transfer_give(&self.a.transfer, slice, slices, room))

    def transfer_drain(self, bint everything):
        transfer_drain(&self.a.transfer, self.pages(), everything)


# ---- span queue

cdef class SpanQueue:
    """A pairing heap over ``count`` spans, named by their numbers, which are in the order of their addresses."""

    cdef Span* spans
    cdef Span* queue

    def __cinit__(self, uint32_t count):
        self.spans = <Span*>calloc(count, sizeof(Span))
        if self.spans == NULL:
            raise MemoryError
        # What an earlier life may have left in the links must not matter.
        memset(self.spans, 0xA5, count * sizeof(Span))

    def __dealloc__(self):
        free(self.spans)

    def insert(self, uint32_t number, bint by_address):
        span_queue_insert(&self.queue, &self.spans[number], by_address)

    def remove(self, uint32_t number):
        span_queue_remove(&self.queue, &self.spans[number])

    def take(self):
        cdef Span* s = span_queue_take(&self.queue)
        return None if s == NULL else s - self.spans

    def lowest(self):
        return None if self.queue == NULL else self.queue - self.spans


# ---- spans and size classes

def class_sizes():
    """Block size and slices of each class, from class 1 on."""
    return [(rt_class_size[c], rt_class_slices[c]) for c in range(1, rt_class_count)]


def class_for(size_t size): return class_of_size(size)
def class_for_aligned(size_t size, size_t alignment): return class_of_aligned(size, alignment)


def first_wrong_offset(uint32_t class_):
    """The first byte offset in a span of the class whose object number is wrong; None when all are right."""
    cdef Span s
    cdef uint64_t bits[16 * RT_SLICE_WORDS]
    cdef uint32_t offset
    cdef uint32_t size = rt_class_size[class_]
    memset(&s, 0, sizeof(Span))
    s.bits = bits
    span_form(&s, rt_class_slices[class_], size, <uint8_t>class_, True)
    for offset in range(<uint32_t>rt_class_slices[class_] * RT_SLICE_BYTES):
        if span_object_at(&s, offset) != offset // size:
            return offset
    return None


cdef class OneSpan:
    """A span of a class, without memory behind it: only its bitmap is looked at."""

    cdef Span span
    cdef uint64_t bits[16 * RT_SLICE_WORDS]

    def __cinit__(self, uint32_t class_):
        memset(&self.span, 0, sizeof(Span))
        self.span.bits = self.bits
        span_form(&self.span, rt_class_slices[class_], rt_class_size[class_], <uint8_t>class_, True)

    @property
    def objects(self): return self.span.objects
    @property
    def words(self): return [self.bits[w] for w in range(self.span.words)]
    @property
    def has_free(self): return bool(span_has_free(&self.span))
    @property
    def is_whole(self): return bool(span_is_whole(&self.span))
    def full_mask(self, uint32_t word): return span_full_mask(&self.span, word)
    def claim(self, uint32_t word, uint64_t wanted): return span_claim(&self.span, word, wanted)
    def claim_all(self): return bool(span_claim_all(&self.span))
    def put(self, uint32_t word, uint64_t mask): self.bits[word] |= mask


# ---- radix map

cdef class Radix:
    """A map from page addresses to values."""

    cdef RadixMap map

    def __cinit__(self):
        memset(&self.map, 0, sizeof(RadixMap))

    def get(self, size_t p): return radix_get(&self.map, <void*>p)
    def set(self, size_t p, uint64_t value): return bool(radix_set(&self.map, <void*>p, value))
    def take(self, size_t p): return radix_take(&self.map, <void*>p)
