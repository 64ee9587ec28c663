# A heap's mailbox: spans that somebody freed into and that their owner should look at. A hint, never memory: a lost one
# costs time. Push-only and take-all, so the usual ABA of lock-free stacks cannot arise.
#
# `notified` of a span is 1 from before its push until its pop, and only who pops it clears it; so a span is in at most
# one mailbox, and its link is its own. An exiting heap closes its mailbox after its last span has become unowned.
from libc.stdint cimport uint8_t, uint32_t

from rtmalloc.core.pages.arena cimport MAILBOX_BYTES, Arena
from rtmalloc.core.base.atomics cimport (
    rt_exchange_u8, rt_load_relaxed_u32, rt_store_relaxed_u32, rt_load_acquire_pointer, rt_load_relaxed_pointer, rt_store_release_pointer,
    rt_swap_if_pointer,
)
from rtmalloc.core.spans.span cimport Span

cdef extern from *:
    """
    #define RT_MAILBOX_CLOSED ((void *)1)
    """
    void* RT_MAILBOX_CLOSED

cdef enum:
    MAIL_GATHERS = 4           # spans in a mailbox before a busy owner reads it without need
    MAIL_PATIENCE = 8          # spans in a mailbox before others act for its owner

cdef struct Mailbox:
    void* head                 # Span*, NULL, or RT_MAILBOX_CLOSED
    uint32_t unread            # about how many spans are in it
    uint8_t padding[52]


cdef inline Mailbox* mailbox_of(const Arena* a, unsigned int heap_id) noexcept nogil:
    return <Mailbox*>(a.mailboxes + <size_t>heap_id * MAILBOX_BYTES)


cdef inline bint mailbox_push(Mailbox* m, Span* s) noexcept nogil:
    # Leave a hint about `s` unless there is one already. False when the mailbox is closed: the span has a new owner, or
    # none, and the caller must look again.
    cdef void* head
    if rt_exchange_u8(&s.notified, 1):
        return True
    head = rt_load_acquire_pointer(&m.head)
    while True:
        if head == RT_MAILBOX_CLOSED:
            rt_exchange_u8(&s.notified, 0)
            return False
        s.mailbox_next = <Span*>head
        if rt_swap_if_pointer(&m.head, &head, s):
            rt_store_relaxed_u32(&m.unread, rt_load_relaxed_u32(&m.unread) + 1)
            return True


cdef inline bint mailbox_is_neglected(Mailbox* m) noexcept nogil:
    # Whether so much mail waits that its owner must be asleep: one that works reads it at every refill.
    return rt_load_relaxed_u32(&m.unread) >= MAIL_PATIENCE


cdef inline bint mailbox_has_mail(Mailbox* m) noexcept nogil:
    return <size_t>rt_load_relaxed_pointer(&m.head) > <size_t>RT_MAILBOX_CLOSED


cdef inline bint mailbox_is_due(Mailbox* m, bint needed) noexcept nogil:
    # Whether the owner reads its mail now: when it needs a span, or when some have gathered. A span that is just being
    # freed into had better be left alone until then: its bitmap would go back and forth between two caches.
    return mailbox_has_mail(m) and (needed or rt_load_relaxed_u32(&m.unread) >= MAIL_GATHERS)


cdef inline Span* mailbox_take(Mailbox* m, bint close) noexcept nogil:
    # All spans in the box, as a list to walk with mailbox_next. A closed box stays closed.
    cdef void* head = rt_load_acquire_pointer(&m.head)
    while head != RT_MAILBOX_CLOSED:
        if rt_swap_if_pointer(&m.head, &head, RT_MAILBOX_CLOSED if close else NULL):
            rt_store_relaxed_u32(&m.unread, 0)
            return <Span*>head
    return NULL


cdef inline Span* mailbox_next(Span* s) noexcept nogil:
    # The rest of the list behind `s`, which may from now on be pushed again: link first, flag second.
    cdef Span* rest = s.mailbox_next
    rt_exchange_u8(&s.notified, 0)
    return rest


cdef inline void mailbox_open(Mailbox* m) noexcept nogil:
    rt_store_release_pointer(&m.head, NULL)
