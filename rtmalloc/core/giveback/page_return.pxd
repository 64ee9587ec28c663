# Empty pages inside spans go back to the kernel while the span stays in use.
# RSS follows live pages, not live spans.
#
# A mostly free span that nobody draws from keeps its pages resident for the sake of a few survivors. Anybody may return
# the pages between them, without the owner: claim the objects that overlap a page, and if all came, the page is ours
# alone; discard it; put the objects back. Nothing on the fast paths knows about it.
#
# The geometry of a span is read without protection and only believed once a claimed bit pins the span: before that, the
# span may be released and formed anew at any time (docs/protocol.md).
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from rtmalloc.core.base.atomics cimport (
    rt_and_u64, rt_load_relaxed_u16, rt_load_relaxed_u32, rt_load_relaxed_u64, rt_load_relaxed_u8, rt_or_u64,
    rt_store_relaxed_u8,
)
from rtmalloc.core.base.attributes cimport slow_int
from rtmalloc.core.base.bitmap cimport mask_low
from rtmalloc.core.base.config cimport RT_SLICE_BYTES, RT_SLICE_WORDS
from rtmalloc.core.base.platform cimport rt_os_discard
from rtmalloc.core.base.size_class cimport rt_class_size, rt_class_slices
from rtmalloc.core.pages.arena cimport arena_address, arena_bits
from rtmalloc.core.pages.huge_pages cimport huge_pages_split
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.tag cimport tag_class, tag_is_small, tag_of_slice
from rtmalloc.core.spans.object cimport object_span
from rtmalloc.core.spans.shelf cimport shelf_put, shelf_tidy
from rtmalloc.core.spans.span cimport SPAN_CURRENT, span_state, span_unit_bytes
from rtmalloc.core.types cimport Allocator, Span

cdef struct Geometry:
    # What a span looked like when it was read; true only while we hold one of its objects.
    char* base
    uint64_t* bits
    uint32_t size              # bytes of an object
    uint32_t objects
    uint32_t bytes             # of the span
    uint32_t unit              # bytes of one bit of `returned`


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
    return True


cdef inline bint geometry_same(const Geometry* g, const Geometry* now) noexcept nogil:
    return g.base == now.base and g.size == now.size and g.objects == now.objects


cdef inline uint64_t object_mask(uint32_t first, uint32_t end, uint32_t word) noexcept nogil:
    # The bits of objects [first, end) that lie in bitmap word `word`.
    cdef uint32_t low = word * 64
    cdef uint64_t mask = ~<uint64_t>0
    if end < low + 64:
        mask = mask_low(end - low)
    if first > low:
        mask &= ~mask_low(first - low)
    return mask


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


cdef inline bint unit_is_free(const Geometry* g, uint32_t unit) noexcept nogil:
    # Whether no live object overlaps a unit. What lies behind the last object belongs to nobody.
    cdef uint32_t first = unit * g.unit // g.size
    cdef uint32_t end = (unit * g.unit + g.unit - 1) // g.size + 1
    if end > g.objects:
        end = g.objects
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


cdef inline void objects_put(Allocator* a, uint32_t slice, uint32_t word, uint64_t mask) noexcept nogil:
    # Put claimed objects back, with all that a free does: theirs may be the bits that somebody missed meanwhile. What we hold
    # pins its span, but that need not be the one we took it for: `slice` may lie inside of a longer span by now, or word
    # `word`, counted from there, in a slice behind it that has a span of its own.
    cdef Span* s = object_span(&a.arena, slice + word // RT_SLICE_WORDS)
    shelf_put(a, s, word + (slice - s.index) * RT_SLICE_WORDS, mask)


cdef inline uint32_t span_return_run(
    Allocator* a, Span* s, uint32_t slice, const Geometry* g, uint32_t unit, uint32_t end_unit
) noexcept nogil:
    # Return the units [unit, end_unit), which looked free; the number of system calls.
    cdef uint32_t first = unit * g.unit // g.size
    cdef uint32_t end = (end_unit * g.unit - 1) // g.size + 1
    cdef uint32_t w
    if end > g.objects:
        end = g.objects
    if not objects_claim(a, slice, g, first, end):
        a.purge.spans.raced += 1
        return 0
    huge_pages_split(&a.arena.pages, slice // SEGMENT_SLICES)
    if rt_os_discard(g.base + unit * g.unit, (end_unit - unit) * g.unit) == 0:
        a.purge.spans.bytes += (end_unit - unit) * g.unit
        # Before the objects are back: whoever then draws one of them clears the mask afterwards.
        rt_or_u64(&s.returned, mask_low(end_unit) & ~mask_low(unit))
    w = first // 64
    while w * 64 < end:
        objects_put(a, slice, w, object_mask(first, end, w))
        w += 1
    a.purge.spans.calls += 1
    return 1


cdef inline slow_int span_return(
    Allocator* a, uint32_t slice, uint32_t quiet_wanted
) noexcept nogil:
    # Return the empty pages of the span that begins at `slice`, unless it was drawn from during the last `quiet_wanted`
    # passes. The number of system calls.
    cdef Span* s = &a.arena.spans[slice]
    cdef Geometry g
    cdef uint64_t returned
    cdef uint32_t unit, units, end
    cdef uint32_t calls = 0
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
    returned = rt_load_relaxed_u64(&s.returned)
    units = g.bytes // g.unit
    # Objects from `fresh` on were never handed out since the span's memory was clean: nothing is there to return.
    end = rt_load_relaxed_u16(&s.fresh)
    if end < g.objects:
        units = (end * g.size + g.unit - 1) // g.unit
    unit = 0
    while unit < units:
        if returned >> unit & 1 or not unit_is_free(&g, unit):
            unit += 1
            continue
        end = unit + 1
        while end < units and not returned >> end & 1 and unit_is_free(&g, end):
            end += 1
        calls += span_return_run(a, s, slice, &g, unit, end)
        unit = end + 1
    return calls
