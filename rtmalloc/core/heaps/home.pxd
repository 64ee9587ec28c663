# Objects that go home: into their spans' bitmaps, by one atomic OR for all that lie in one word. A bin that is full sends its
# older half; objects of other slots, and of classes that the heap has no bin for, gather in an array of their own first.
from libc.stdint cimport uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base._options cimport RT_OPTION_remote_kib
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.bitmap cimport rt_count_bits, rt_lowest_bit
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.spans.object cimport object_locate
from rtmalloc.core.spans.shelf cimport shelf_put
from rtmalloc.core.types cimport HOME_CELLS, Heap, Span

cdef enum:
    HOME_GROUPS = 64           # words that one sending collects objects for at a time
    HOME_ALONE = 4096          # bytes: objects so large do not wait for company

cdef struct Group:
    # Objects of one word that are about to go home.
    Span* span
    uint64_t mask
    uint32_t word

cdef struct Groups:
    uint64_t used              # bit i = group i holds objects
    Group group[HOME_GROUPS]


cdef inline void home_put(Heap* h, const Group* group) noexcept nogil:
    # One atomic step.
    h.counters.home_batches += 1
    h.counters.home_frees += rt_count_bits(group.mask)
    shelf_put(h.allocator, group.span, group.word, group.mask)


cdef inline void home_add(Heap* h, Groups* groups, void* p) noexcept nogil:
    # An object joins the others of its word; those of another word that are in its way are sent.
    cdef uint32_t object_ = 0
    cdef Span* s = object_locate(&h.allocator.arena, p, &object_)
    cdef uint64_t bit = <uint64_t>1 << (object_ & 63)
    cdef uint32_t i
    cdef Group* group
    if unlikely(s == NULL):
        complain_of_pointer(b"free", p, b"not the start of a block")
    i = (s.index * 5 + (object_ >> 6)) & (HOME_GROUPS - 1)
    group = &groups.group[i]
    if groups.used >> i & 1:
        if group.span == s and group.word == object_ >> 6:
            if unlikely(group.mask & bit):
                complain_of_pointer(b"free", p, b"double free")
            group.mask |= bit
            return
        home_put(h, group)
    groups.used |= <uint64_t>1 << i
    group.span = s
    group.word = object_ >> 6
    group.mask = bit


cdef inline slow_void home_send(Heap* h, void** objects, uint32_t count) noexcept nogil:
    # Send objects home; NULLs among them are passed over.
    cdef Groups groups
    cdef uint32_t i
    groups.used = 0
    for i in range(count):
        if objects[i] != NULL:
            home_add(h, &groups, objects[i])
    while groups.used:
        home_put(h, &groups.group[rt_lowest_bit(groups.used)])
        groups.used &= groups.used - 1


cdef inline slow_void home_flush(Heap* h) noexcept nogil:
    # Send what has gathered.
    cdef uint32_t count = h.home_count
    h.home_count = 0
    h.home_room = h.allocator.options.value[RT_OPTION_remote_kib] * 1024
    if count:
        home_send(h, h.home, count)


cdef inline void home_free(Heap* h, void* p, uint32_t size) noexcept nogil:
    # An object of `size` bytes goes home, in company.
    h.home[h.home_count] = p
    h.home_count += 1
    h.home_room -= size
    if unlikely(h.home_room < 0 or h.home_count == HOME_CELLS or size >= HOME_ALONE):
        home_flush(h)
