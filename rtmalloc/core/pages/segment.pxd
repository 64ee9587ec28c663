# A segment: 1 MiB of the arena as 64 slices, whose state is four words.
#
# For each slice, as bits of the four words:
#
#     free  dirty  old  muzzy
#      0      d     -     0     in use (or being purged); d tells whether it held old data when it was taken
#      1      0     0     0     clean: never touched since it was mapped or discarded, so it reads as zero
#      1      1     0     0     dirty, freed since the last decay step
#      1      1     1     0     dirty, and older than one decay step: the next one purges it
#      1      1     0     1     muzzy: handed to the kernel by MADV_FREE; content unknown, still counted as resident
#      1      1     1     1     muzzy, and older than one muzzy step: the next one purges it
#
# Neighbouring free slices are one free run without more ado.
from libc.stdint cimport uint64_t

from rtmalloc.core.types cimport Segment

cdef enum:
    SEGMENT_SLICES = 64
    SEGMENT_NOTHING = 0        # no memory here (`free` is then 0, as in the next but one and the last)
    SEGMENT_ACCESSIBLE = 1
    SEGMENT_MOVING = 2         # one thread is opening it or giving it up: no other one may
    SEGMENT_FOREIGN = 3        # the program has a mapping of its own there


cdef inline bint segment_is_valid(const Segment* s) noexcept nogil:
    # The relations above, for the checked build and the tests.
    return (s.old & s.free & ~s.dirty) == 0 and (s.muzzy & ~(s.free & s.dirty)) == 0 and (s.purged & ~s.free) == 0


cdef inline void segment_take(Segment* s, uint64_t mask) noexcept nogil:
    # `mask` slices leave the free set; their dirty bits stay, to tell calloc what is not zero.
    s.free &= ~mask
    s.old &= ~mask
    s.muzzy &= ~mask
    s.purged &= ~mask


cdef inline void segment_give(Segment* s, uint64_t mask) noexcept nogil:
    # `mask` slices come back after use.
    s.free |= mask
    s.dirty |= mask
    s.old &= ~mask


cdef inline void segment_give_clean(Segment* s, uint64_t mask) noexcept nogil:
    # `mask` slices come back, mapped anew.
    s.free |= mask
    s.dirty &= ~mask
    s.old &= ~mask


cdef inline void segment_give_untouched(Segment* s, uint64_t mask) noexcept nogil:
    # `mask` slices come back as they were taken: nobody wrote to them.
    s.free |= mask


cdef inline uint64_t segment_decay(Segment* s, bint muzzy_step) noexcept nogil:
    # One decay step: what was dirty a whole step ago is due; what is dirty now will be. What is muzzy ages by steps of its
    # own, and only in those is it due.
    cdef uint64_t fresh = s.free & s.dirty & ~s.muzzy
    cdef uint64_t due = s.old & (fresh | s.muzzy if muzzy_step else fresh)
    s.old = fresh | (s.muzzy if muzzy_step else s.muzzy & s.old)
    return due
