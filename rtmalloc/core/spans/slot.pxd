# Slots: which one a heap draws from, and how one takes spans from another before memory grows.
#
# A heap stays with the slot that it used last, and changes only when the lock that it wants there is taken. So threads on
# different CPUs drift to different slots, and a thread that moves takes its slot along.
from libc.stdint cimport uint32_t

from rtmalloc.core.base._options cimport RT_OPTION_slots
from rtmalloc.core.base.atomics cimport rt_add_u64, rt_load_relaxed_u32
from rtmalloc.core.base.attributes cimport cold_int, slow_pointer
from rtmalloc.core.base.lock cimport LOCK_SPINS, lock_is_forks, lock_sleep, lock_take, lock_try
from rtmalloc.core.base.platform cimport rt_cpu_relax, rt_os_cpu, rt_os_cpus, rt_os_map
from rtmalloc.core.base.size_class cimport rt_class_slices
from rtmalloc.core.pages.tag cimport TAG_OWNER_SHIFT, tag_of_class, tag_set
from rtmalloc.core.spans.formation cimport formation_new
from rtmalloc.core.spans.inherited cimport inherited_look, inherited_spend
from rtmalloc.core.spans.shelf cimport Draw, shelf_draw, shelf_leave, shelf_look, shelf_take_over, shelf_unlist
from rtmalloc.core.spans.span cimport SPAN_HELD, span_set_state, span_slice
from rtmalloc.core.types cimport Allocator, Shelf, Slot, Span

cdef enum:
    SLOTS_MOST = 64


cdef inline cold_int slots_open(Allocator* a) noexcept nogil:
    # Make the slots: as many as the options say, or one for each CPU that the process may use. 1, or 0 without memory.
    cdef uint32_t count = <uint32_t>a.options.value[RT_OPTION_slots]
    cdef uint32_t i
    if a.slots != NULL:
        return 1
    if count == 0:
        count = rt_os_cpus()
    if count > SLOTS_MOST:
        count = SLOTS_MOST
    a.slots = <Slot*>rt_os_map(count * sizeof(Slot))
    if a.slots == NULL:
        return 0
    a.slot_count = count
    for i in range(count):
        a.slots[i].number = i
        a.slots[i].tag_base = (i + 1) << TAG_OWNER_SHIFT
    return 1


cdef inline Slot* slot_here(Allocator* a) noexcept nogil:
    # The slot of the CPU that the thread is on.
    return &a.slots[rt_os_cpu() % a.slot_count]


cdef inline Slot* slot_try_others(Allocator* a, Slot* mine, uint32_t class_) noexcept nogil:
    # A slot with its lock, the one of this CPU first, the caller's own last; NULL when all are taken.
    cdef uint32_t first = slot_here(a).number
    cdef uint32_t i
    cdef Slot* slot
    for i in range(a.slot_count):
        slot = &a.slots[(first + i) % a.slot_count]
        if slot != mine and lock_try(&slot.shelves[class_].lock):
            return slot
    return mine if lock_try(&mine.shelves[class_].lock) else NULL


cdef inline slow_pointer slot_enter_other(Allocator* a, Slot* mine, uint32_t class_) noexcept nogil:
    # The lock of the caller's own slot and class was taken: whichever comes free first. A thread does not wait for one lock
    # alone, as its holder may have lost its CPU.
    cdef Slot* slot
    cdef int i
    rt_add_u64(&a.lock_misses, 1)
    while not lock_is_forks():
        for i in range(LOCK_SPINS):
            slot = slot_try_others(a, mine, class_)
            if slot != NULL:
                return slot
            rt_cpu_relax()
        if lock_sleep(&mine.shelves[class_].lock):
            break
    return mine


cdef inline Slot* slot_enter(Allocator* a, Slot* mine, uint32_t class_) noexcept nogil:
    # A slot with the lock of its shelf of a class, preferably `mine`.
    if lock_try(&mine.shelves[class_].lock):
        return mine
    return <Slot*>slot_enter_other(a, mine, class_)


cdef inline Span* slot_steal(Allocator* a, Slot* slot, uint32_t class_) noexcept nogil:
    # The lowest span with free objects of another slot, HELD by the caller and with `slot` in its tag; NULL when none is to
    # be had. Called without a lock. The tag changes under the lock of the shelf that the span leaves; until it joins the
    # other one it is HELD, and a look at it does nothing.
    cdef uint32_t i
    cdef uint32_t tag
    cdef Slot* other
    cdef Shelf* shelf
    cdef Span* s
    for i in range(1, a.slot_count):
        other = &a.slots[(slot.number + i) % a.slot_count]
        shelf = &other.shelves[class_]
        if rt_load_relaxed_u32(&shelf.count) == 0 or not lock_try(&shelf.lock):
            continue
        tag = tag_of_class(other.tag_base, class_)
        s = shelf_unlist(shelf)
        if s != NULL:
            span_set_state(s, SPAN_HELD)
            tag_set(&a.arena, s.index, s.slices, tag_of_class(slot.tag_base, class_))
        shelf_leave(a, shelf, tag)
        if s != NULL:
            return s
    return NULL


cdef inline Slot* slot_draw(Allocator* a, Slot* mine, uint32_t class_, Draw* d) noexcept nogil:
    # Draw objects of a class, by way of `mine` or, if its lock is taken, another slot, which is returned. d.got stays 0 when
    # there is no memory.
    cdef Slot* slot
    cdef Shelf* shelf
    cdef uint32_t tag
    cdef Span* s
    cdef bint stolen
    inherited_look(a, class_)
    slot = slot_enter(a, mine, class_)
    shelf = &slot.shelves[class_]
    tag = tag_of_class(slot.tag_base, class_)
    shelf_draw(a, shelf, d)
    while d.got == 0:
        # Not under the lock: a new span may cost a system call.
        shelf_leave(a, shelf, tag)
        s = slot_steal(a, slot, class_)
        stolen = s != NULL
        if s == NULL:
            inherited_spend(a, rt_class_slices[class_])
            s = <Span*>formation_new(a, slot, class_)
            if s == NULL:
                return slot
        lock_take(&shelf.lock)
        shelf.stolen += stolen
        shelf_take_over(a, shelf, s)
        shelf_draw(a, shelf, d)
        # While it was HELD no free told anybody, and it may not have been needed after all: a whole one goes back.
        shelf_look(a, shelf, tag, span_slice(a, s))
    shelf_leave(a, shelf, tag)
    return slot
