# Empty pages inside spans go back to the kernel while the span stays in use.
# RSS follows live pages, not live spans.
#
# A mostly free span that nobody draws from keeps its pages resident for the sake of a few survivors. Anybody may return
# the pages between them, without the owner: claim the objects that overlap a page, and if all came, the page is ours
# alone; discard it; put the objects back. Nothing on the fast paths knows about it. Pages of many spans are claimed before
# they are discarded, by one system call (batch.pxd).
#
# The geometry of a span is read without protection and only believed once a claimed bit pins the span: before that, the
# span may be released and formed anew at any time (docs/protocol.md).
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from rtmalloc.core.base.atomics cimport (
    rt_and_u64, rt_load_relaxed_u16, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_load_relaxed_u8,
    rt_store_relaxed_u8,
)
from rtmalloc.core.base.attributes cimport slow_int
from rtmalloc.core.base.bitmap cimport mask_low, rt_count_bits
from rtmalloc.core.base.config cimport RT_SLICE_BYTES
from rtmalloc.core.base.size_class cimport rt_class_size, rt_class_slices
from rtmalloc.core.giveback.batch cimport Batch, BatchRun, batch_add, batch_make_room, object_mask, objects_put
from rtmalloc.core.pages.arena cimport arena_address, arena_bits
from rtmalloc.core.pages.tag cimport tag_class, tag_is_small, tag_of_slice
from rtmalloc.core.spans.shelf cimport shelf_tidy
from rtmalloc.core.spans.span cimport SPAN_CURRENT, span_lead, span_state, span_unit_bytes
from rtmalloc.core.types cimport Allocator, Span

cdef struct Geometry:
    # What a span looked like when it was read; true only while we hold one of its objects.
    char* base
    uint64_t* bits
    uint32_t size              # bytes of an object
    uint32_t objects
    uint32_t bytes             # of the span
    uint32_t unit              # bytes of one bit of `returned`
    uint32_t lead              # bytes of the page that the span begins in, before it: 0 unless a page is longer than a slice


cdef inline bint geometry_read(const Allocator* a, uint32_t slice, Geometry* g) noexcept nogil:
    # Read the geometry of the span that begins at `slice`; False when none does.
    cdef uint32_t tag = tag_of_slice(&a.arena, slice)
    cdef uint32_t class_ = tag_class(tag)
    cdef const Span* s = &a.arena.spans[slice]
    if not tag_is_small(tag) or rt_load_relaxed_u32(&s.index) != slice:
        return False
    g.base = arena_address(&a.arena, slice)
    g.bits = arena_bits(&a.arena, slice)
    g.size = rt_class_size[class_]
    g.objects = rt_load_relaxed_u16(&s.objects)
    g.bytes = <uint32_t>rt_class_slices[class_] * RT_SLICE_BYTES
    g.unit = span_unit_bytes(g.bytes, a.arena.page_bytes)
    g.lead = span_lead(g.base, a.arena.page_bytes)
    return True


cdef inline bint geometry_same(const Geometry* g, const Geometry* now) noexcept nogil:
    return g.base == now.base and g.size == now.size and g.objects == now.objects


cdef inline bint objects_free(const Geometry* g, uint32_t first, uint32_t end) noexcept nogil:
    # Whether the objects [first, end) are all free, by a look that holds nothing.
    cdef uint32_t w = first // 64
    cdef uint64_t mask
    while w * 64 < end:
        mask = object_mask(first, end, w)
        if rt_load_relaxed_u64(&g.bits[w]) & mask != mask:
            return False
        w += 1
    return True


cdef inline uint32_t unit_first(const Geometry* g, uint32_t unit) noexcept nogil:
    # The first object that overlaps a unit.
    return (unit * g.unit - g.lead) // g.size


cdef inline uint32_t unit_end(const Geometry* g, uint32_t end_unit) noexcept nogil:
    # Behind the last object that overlaps the units before `end_unit`. What lies behind the last object belongs to nobody.
    cdef uint32_t end = (end_unit * g.unit - g.lead - 1) // g.size + 1
    return end if end < g.objects else g.objects


cdef inline bint unit_is_free(const Geometry* g, uint32_t unit) noexcept nogil:
    # Whether no live object overlaps a unit.
    cdef uint32_t first = unit_first(g, unit)
    cdef uint32_t end = unit_end(g, unit + 1)
    return first < end and objects_free(g, first, end)


cdef inline bint objects_claim(
    Allocator* a, uint32_t slice, const Geometry* g, uint32_t first, uint32_t end
) noexcept nogil:
    # Claim the objects [first, end), all or none, and make sure that the span is the one whose geometry we read.
    cdef Geometry now
    cdef uint32_t w = first // 64
    cdef uint32_t begin = w
    cdef uint64_t mask, got
    cdef bint whole = True
    while w * 64 < end and whole:
        mask = object_mask(first, end, w)
        got = rt_and_u64(&g.bits[w], ~mask) & mask
        # The first bit that we hold pins the span: from here on its geometry stays what it is now.
        whole = got == mask and (w != begin or (geometry_read(a, slice, &now) and geometry_same(g, &now)))
        if not whole and got:
            objects_put(a, slice, w, got)
        w += 1
    if whole:
        return True
    w -= 1
    while w > begin:
        w -= 1
        objects_put(a, slice, w, object_mask(first, end, w))
    return False


cdef inline uint32_t span_return_run(
    Allocator* a, Batch* b, uint32_t slice, const Geometry* g, uint32_t unit, uint32_t end_unit, uint64_t returned
) noexcept nogil:
    # Claim the units [unit, end_unit), which looked free, for the batch; how many runs that are. `returned`: what went before.
    cdef uint32_t first = unit_first(g, unit)
    cdef uint32_t end = unit_end(g, end_unit)
    cdef uint64_t units = mask_low(end_unit) & ~mask_low(unit)
    cdef BatchRun* run
    batch_make_room(a, b, False, b.regret)
    if not objects_claim(a, slice, g, first, end):
        a.purge.spans.raced += 1
        return 0
    run = batch_add(a, b, slice, g.base + unit * g.unit - g.lead, (end_unit - unit) * g.unit)
    run.slices = 0
    run.first = first
    run.end = end
    run.units = units
    run.bytes = rt_count_bits(units & ~returned) * g.unit
    return 1


cdef inline uint32_t span_return_pages(Allocator* a, Batch* b, uint32_t slice, const Geometry* g) noexcept nogil:
    # Return what is free of a span, and not returned already; how many runs that are.
    cdef const Span* s = &a.arena.spans[slice]
    cdef uint64_t returned = rt_load_relaxed_u64(&s.returned)
    cdef uint32_t unit = 1 if g.lead else 0
    cdef uint32_t units = (g.lead + g.bytes) // g.unit
    cdef uint32_t at, end
    cdef uint32_t runs = 0
    # Objects from `fresh` on were never handed out since the span's memory was clean: nothing is there to return.
    end = rt_load_relaxed_u16(&s.fresh)
    if end < g.objects and (g.lead + end * g.size + g.unit - 1) // g.unit < units:
        units = (g.lead + end * g.size + g.unit - 1) // g.unit
    while unit < units:
        at = unit
        end = unit
        # A run goes on over units that went before, up to the last one that did not.
        while at < units and not returned >> unit & 1 and unit_is_free(g, at):
            at += 1
            if not returned >> (at - 1) & 1:
                end = at
        if end > unit:
            runs += span_return_run(a, b, slice, g, unit, end, returned)
        unit = at + 1
    return runs


cdef inline slow_int span_return(
    Allocator* a, Batch* b, uint32_t slice, uint32_t quiet_wanted
) noexcept nogil:
    # Return the empty pages of the span that begins at `slice`, unless it was drawn from during the last `quiet_wanted`
    # passes; how many runs that are.
    cdef Span* s = &a.arena.spans[slice]
    cdef Geometry g
    cdef uint8_t quiet
    if not geometry_read(a, slice, &g):
        return 0
    a.purge.spans.spans += 1
    quiet = rt_load_relaxed_u8(&s.quiet)
    if quiet < quiet_wanted:
        rt_store_relaxed_u8(&s.quiet, quiet + 1)
        return 0
    if span_state(s) == SPAN_CURRENT:
        shelf_tidy(a, slice)
    return span_return_pages(a, b, slice, &g)
