# Objects go home: into their spans' bitmaps, by one atomic OR for all that lie in one word.
# A bin that is full sends its older half; objects of other slots, and of classes that the heap has no bin for, gather
# in an array of their own first.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base._options cimport RT_OPTION_remote_kib
from rtmalloc.core.base.attributes cimport slow_void
from rtmalloc.core.base.bitmap cimport rt_count_bits, rt_lowest_bit
from rtmalloc.core.base.complain cimport complain_of_pointer
from rtmalloc.core.spans.object cimport object_complain_twice, object_span_of
from rtmalloc.core.spans.shelf cimport shelf_put
from rtmalloc.core.spans.span cimport span_object_at, span_word_objects
from rtmalloc.core.types cimport HOME_CELLS, Heap, Span

cdef enum:
    HOME_GROUPS = 64           # words that one sending collects objects for at a time

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
    h.inside += <int64_t>rt_count_bits(group.mask) * group.span.size
    shelf_put(h.allocator, group.span, group.word, group.mask)


cdef inline void home_gather(Heap* h, Groups* groups, Span* s, uint32_t word, uint64_t mask) noexcept nogil:
    # Objects of one word join the others of that word; those of another word that are in their way are sent.
    cdef uint32_t i = (s.index * 5 + word) & (HOME_GROUPS - 1)
    cdef Group* group = &groups.group[i]
    if groups.used >> i & 1:
        if group.span == s and group.word == word:
            if unlikely(group.mask & mask):
                object_complain_twice(s, word, group.mask & mask)
            group.mask |= mask
            return
        home_put(h, group)
    groups.used |= <uint64_t>1 << i
    group.span = s
    group.word = word
    group.mask = mask


cdef inline slow_void home_send(Heap* h, void** objects, uint32_t count) noexcept nogil:
    # Send objects home; NULLs among them are passed over. Neighbours often come in a row: they are gathered on the way.
    cdef Groups groups
    cdef Span* s = NULL
    cdef uint32_t i, number, word = 0
    cdef uint64_t offset, first = 0, reach = 0, mask = 0
    groups.used = 0
    for i in range(count):
        offset = <uint64_t>objects[i] - first
        if offset >= reach:
            if objects[i] == NULL:
                continue
            if mask:
                home_gather(h, &groups, s, word, mask)
            s = object_span_of(&h.allocator.arena, objects[i])
            word = span_object_at(s, <uint32_t>(<uint64_t>objects[i] - <uint64_t>s.base)) >> 6
            first = <uint64_t>s.base + <uint64_t>(word << 6) * s.size
            reach = <uint64_t>span_word_objects(s, word) * s.size
            offset = <uint64_t>objects[i] - first
            mask = 0
        number = span_object_at(s, <uint32_t>offset)
        if unlikely(number * s.size != offset or offset >= reach):
            complain_of_pointer(b"free", objects[i], b"not the start of a block")
        if unlikely(mask >> number & 1):
            object_complain_twice(s, word, <uint64_t>1 << number)
        mask |= <uint64_t>1 << number
    if mask:
        home_gather(h, &groups, s, word, mask)
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
    if unlikely(h.home_room < 0 or h.home_count == HOME_CELLS):
        home_flush(h)
