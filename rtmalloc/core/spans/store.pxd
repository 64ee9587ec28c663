# What all threads share: the arena with its page heap, the transfer cache, the central stores, the options. And the
# life of a span between them: formed from slices, owned, abandoned, adopted, released.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from rtmalloc.core.pages.arena cimport Arena, arena_span_new
from rtmalloc.core.base.atomics cimport rt_add_u64, rt_load_relaxed_u32, rt_store_relaxed_u32
from rtmalloc.core.base.attributes cimport slow_int, slow_pointer
from rtmalloc.core.spans.central cimport CLASSES_MOST, Central
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.options cimport Options, RT_OPTION_address_order, RT_OPTION_keep_empty, RT_OPTION_transfer_kib
from rtmalloc.core.pages.page_heap cimport SLICE_NONE, page_heap_dirty_in, page_heap_give, page_heap_take
from rtmalloc.core.pages.pagemap cimport tag_make, tag_of_slice, tag_set
from rtmalloc.core.profile.profile cimport Profile
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.base.size_class cimport rt_class_size, rt_class_slices
from rtmalloc.core.spans.span cimport (
    SPAN_CURRENT, SPAN_LISTED, SPAN_NONE, SPAN_UNLISTED, Span, span_claim_all, span_form, span_has_free,
    span_is_whole,
)
from rtmalloc.core.spans.span_queue cimport span_queue_insert, span_queue_remove, span_queue_take
from rtmalloc.core.spans.transfer_cache cimport TransferCache, transfer_give, transfer_take

cdef extern from "base/config.h":
    enum:
        RT_SLICE_BYTES

cdef struct Store:
    Arena arena
    TransferCache transfer
    Central central[CLASSES_MOST]
    Options options
    Profile profile
    uint32_t heap_count        # ids 1..heap_count have a heap; grows under the allocator's heaps_lock
    uint32_t mail_cursor       # the heap whose mail was looked at last
    void** heaps               # [heap_limit + 1] Heap* by id (heap.pxd); set once per id
    uint64_t cached_bytes      # capacity of all heaps' bins that is on their account (atomic), <= total_kib
    uint64_t taken_bytes       # capacity that was taken off the accounts of sleeping heaps (atomic), <= total_kib
    uint32_t idle_cursor       # the heap that was last looked at for that
    uint64_t epoch_at          # clock, in ms, of the next look at the shared tiers
    uint64_t returns_wanted    # bytes of pages inside spans that were drawn from again after their return (atomic)
    uint32_t flush_epoch       # raised when all heaps shall give back what they cache, each at its next slow path
    uint64_t spans_formed      # counters, not exact under races
    uint64_t spans_released


cdef inline uint32_t span_slice(const Store* store, const Span* s) noexcept nogil:
    # The slice whose entry `s` is: true of any entry, whatever became of the span.
    return <uint32_t>(s - store.arena.spans)


cdef inline uint32_t store_slices_take(Store* store, uint32_t slices, bint* zeroed) noexcept nogil:
    # A run for a span of `slices` slices, and whether it is known to be zero; SLICE_NONE when the arena is full.
    cdef uint32_t slice = transfer_take(&store.transfer, slices)
    zeroed[0] = False
    if slice == SLICE_NONE:
        slice = page_heap_take(&store.arena.pages, slices)
        # A run that crosses into the next segment is not looked at: it counts as used before.
        if slice != SLICE_NONE and slice % SEGMENT_SLICES + slices <= SEGMENT_SLICES:
            zeroed[0] = page_heap_dirty_in(&store.arena.pages, slice, slices) == 0
    return slice


cdef inline Span* store_span_form(
    Store* store, uint32_t slice, uint32_t owner, uint32_t class_, bint zeroed
) noexcept nogil:
    # Make a span of `class_` for heap `owner` of a run that is ours, all objects free.
    cdef uint32_t slices = rt_class_slices[class_]
    cdef Span* s = arena_span_new(&store.arena, slice, slices)
    s.state = SPAN_CURRENT
    # The tag before the bits: a page purger that claims one of them, and puts it back, must find whom to tell.
    tag_set(&store.arena, slice, slices, tag_make(owner, class_))
    span_form(s, slices, rt_class_size[class_], <uint8_t>class_, zeroed)
    rt_add_u64(&store.spans_formed, 1)
    return s


cdef inline slow_pointer store_span_new(Store* store, uint32_t owner, uint32_t class_) noexcept nogil:
    # A new span of `class_` for heap `owner`, or NULL when the arena is full.
    cdef bint zeroed
    cdef uint32_t slice = store_slices_take(store, rt_class_slices[class_], &zeroed)
    return store_span_form(store, slice, owner, class_, zeroed) if slice != SLICE_NONE else NULL


cdef inline void store_span_release(Store* store, Span* s) noexcept nogil:
    # Take back a span whose objects we have all claimed, and that is in no list any more.
    cdef uint32_t slice = span_slice(store, s)
    cdef uint32_t slices = s.slices
    cdef uint32_t room = <uint32_t>(store.options.value[RT_OPTION_transfer_kib] * 1024 // (slices * RT_SLICE_BYTES))
    s.state = SPAN_NONE
    tag_set(&store.arena, slice, slices, 0)
    rt_add_u64(&store.spans_released, 1)
    if not transfer_give(&store.transfer, slice, slices, room):
        page_heap_give(&store.arena.pages, slice, slices)


cdef inline void central_list(Store* store, Span* s, uint32_t class_) noexcept nogil:
    # Under the class lock: put an unowned span into the queue.
    cdef Central* central = &store.central[class_]
    s.state = SPAN_LISTED
    span_queue_insert(&central.queue, s, store.options.value[RT_OPTION_address_order] != 0)
    rt_store_relaxed_u32(&central.count, central.count + 1)


cdef inline void central_unlist(Store* store, Span* s, uint32_t class_) noexcept nogil:
    # Under the class lock: take a span out of the queue.
    cdef Central* central = &store.central[class_]
    s.state = SPAN_UNLISTED
    span_queue_remove(&central.queue, s)
    rt_store_relaxed_u32(&central.count, central.count - 1)


cdef inline bint central_settle(Store* store, Span* s, uint32_t class_) noexcept nogil:
    # Under the class lock, for an unowned span: release it if it is whole (True), else list it if it has become usable.
    # A claim that fails was raced by a page purger or a free; look again, because theirs may have been the last object.
    cdef Central* central = &store.central[class_]
    while span_is_whole(s):
        if store.options.value[RT_OPTION_keep_empty] and central.count == (s.state == SPAN_LISTED):
            # The only one here.
            break
        if span_claim_all(s):
            if s.state == SPAN_LISTED:
                central_unlist(store, s, class_)
            store_span_release(store, s)
            return True
    if s.state == SPAN_UNLISTED and span_has_free(s):
        central_list(store, s, class_)
    return False


cdef inline slow_int central_event(Store* store, Span* s, uint32_t class_) noexcept nogil:
    # Something came home to a span that was unowned and of `class_` a moment ago. 1 when that is still so, and then the
    # span is settled; 0 when the tag has changed: the caller looks at it again.
    cdef Central* central = &store.central[class_]
    cdef bint still
    lock_take(&central.lock)
    # The tag may have changed before we had the lock, even into another span of the same class: that is then one whose
    # settling is just as welcome. Tags come from and go to "unowned" only under this lock.
    still = tag_of_slice(&store.arena, span_slice(store, s)) == tag_make(0, class_)
    # (The slice may have become the inside of a longer one: then there is nothing to do.)
    if still and s.index == span_slice(store, s):
        central_settle(store, s, class_)
    lock_drop(&central.lock)
    return still


cdef inline void central_abandon(Store* store, Span* s) noexcept nogil:
    # The owner gives the span up; it is in none of its lists any more.
    cdef uint32_t class_ = s.class_
    cdef Central* central = &store.central[class_]
    lock_take(&central.lock)
    s.state = SPAN_UNLISTED
    central.abandoned += 1
    tag_set(&store.arena, span_slice(store, s), s.slices, tag_make(0, class_))
    # After the tag: an object that comes home from here on finds the span unowned and waits for this lock; one that
    # came before is seen now.
    central_settle(store, s, class_)
    lock_drop(&central.lock)


cdef inline slow_pointer central_adopt(Store* store, uint32_t owner, uint32_t class_) noexcept nogil:
    # The lowest unowned span of `class_`, now owned by heap `owner`; NULL when there is none.
    cdef Central* central = &store.central[class_]
    cdef Span* s
    if rt_load_relaxed_u32(&central.count) == 0:
        return NULL
    lock_take(&central.lock)
    s = span_queue_take(&central.queue)
    if s != NULL:
        rt_store_relaxed_u32(&central.count, central.count - 1)
        central.adopted += 1
        s.state = SPAN_CURRENT
        tag_set(&store.arena, span_slice(store, s), s.slices, tag_make(owner, class_))
    lock_drop(&central.lock)
    return s
