"""Sizes and lives as they are in a large fleet (fleet_figures.h), drawn in constant time.

For each size the figures give how often it is asked for and how many blocks of it are live on average. By Little's
law a block of it then lives for live / rate. One tick is one call of malloc at full load. Lives are exponential, so
that any block of a size is as likely to die next as any other.
"""
from libc.math cimport M_PI, cos, log
from libc.stdint cimport uint32_t, uint64_t
from bench_harness.native.cell cimport Cell, cell_pages
from bench_harness.native.lifetimes cimport Lifetimes, lived_born
from bench_harness.native.random cimport Rng, rng_next, scale

cdef extern from "bench_harness/native/fleet_figures.h" nogil:
    ctypedef struct FleetFigure:
        unsigned size
        float rate
        float live
    ctypedef struct FleetProfile:
        const FleetFigure* figure
        int count
    const FleetProfile* fleet_profile

cdef enum:
    LIFE_BITS = 12          # of the table of exponential lives: the longest is nine times the mean


cdef struct Alias:          # Walker's method: entry i is i with this chance, another otherwise
    uint32_t* chance        # of 2^32
    uint32_t* other
    uint32_t count


cdef struct Fleet:
    const FleetProfile* profile
    Alias births            # by rate
    Alias living            # by live blocks
    double* life            # by size: the mean in ticks
    double[1 << LIFE_BITS] exponential
    long blocks             # live in one thread on average, at full load


cdef inline double figure_weight(const FleetFigure* f, bint by_live) noexcept nogil:
    return f.live if by_live else f.rate


cdef inline double weights_sum(const FleetProfile* p, bint by_live) noexcept nogil:
    cdef double total = 0
    cdef int i
    for i in range(p.count):
        total += figure_weight(&p.figure[i], by_live)
    return total


cdef inline void alias_new(Cell* cell, Alias* a, const FleetProfile* p, bint by_live) noexcept nogil:
    """Build the table: entries below the mean are filled up by those above it, in two stacks within one array."""
    cdef double mean = weights_sum(p, by_live) / p.count
    cdef double* share = <double*>cell_pages(cell, <size_t>p.count * sizeof(double))
    cdef uint32_t* stack = <uint32_t*>cell_pages(cell, <size_t>p.count * sizeof(uint32_t))
    cdef int below = 0, above = p.count, i
    cdef uint32_t low, high
    a.count = <uint32_t>p.count
    a.chance = <uint32_t*>cell_pages(cell, a.count * sizeof(uint32_t))
    a.other = <uint32_t*>cell_pages(cell, a.count * sizeof(uint32_t))
    for i in range(p.count):
        a.chance[i], a.other[i] = ~<uint32_t>0, <uint32_t>i
        share[i] = figure_weight(&p.figure[i], by_live) / mean
        if share[i] < 1:
            stack[below] = <uint32_t>i
            below += 1
        else:
            above -= 1
            stack[above] = <uint32_t>i
    while below > 0 and above < p.count:
        below -= 1
        low, high = stack[below], stack[above]
        a.chance[low], a.other[low] = <uint32_t>(share[low] * 4294967295.0), high
        share[high] -= 1 - share[low]
        if share[high] < 1:
            above += 1
            stack[below] = high
            below += 1


cdef inline uint32_t alias_draw(const Alias* a, uint64_t bits) noexcept nogil:
    cdef uint32_t i = scale(<uint32_t>bits, a.count)
    return i if <uint32_t>(bits >> 32) <= a.chance[i] else a.other[i]


cdef inline void fleet_new(Cell* cell, Fleet* f, int profile, long bytes) noexcept nogil:
    """The profile of this number, for threads that hold `bytes` each at full load."""
    cdef const FleetProfile* p = &fleet_profile[profile]
    cdef double total = weights_sum(p, False), held = 0, times
    cdef int i
    f.profile = p
    alias_new(cell, &f.births, p, False)
    alias_new(cell, &f.living, p, True)
    for i in range(p.count):
        held += <double>p.figure[i].live * p.figure[i].size
    times = <double>bytes / held
    f.life = <double*>cell_pages(cell, <size_t>p.count * sizeof(double))
    for i in range(p.count):
        f.life[i] = p.figure[i].live * times / p.figure[i].rate * total
    for i in range(1 << LIFE_BITS):
        f.exponential[i] = -log((i + 0.5) / (1 << LIFE_BITS))
    f.blocks = <long>(weights_sum(p, True) * times)


cdef inline void fleet_born(const Fleet* f, Lifetimes* l, const Alias* a, Rng* rng) noexcept nogil:
    """One block of a size that is drawn from the table."""
    cdef uint32_t i = alias_draw(a, rng_next(rng))
    cdef double life = f.life[i] * f.exponential[rng_next(rng) >> (64 - LIFE_BITS)]
    lived_born(l, f.profile.figure[i].size, <uint64_t>life)


cdef inline double diurnal(double days) noexcept nogil:
    """The load at a time in days: 1 at noon, a tenth at midnight, a cosine between."""
    return 0.55 - 0.45 * cos(2 * M_PI * days)
