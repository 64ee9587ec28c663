"""A small fast random generator (xorshift64*).

One generator per thread, seeded from the cell's `seed`, so that every allocator meets the same requests.
"""
from libc.stdint cimport uint32_t, uint64_t

ctypedef uint64_t Rng


cdef inline Rng rng_seed(uint64_t seed, uint64_t stream) noexcept nogil:
    """A generator for `stream` (a thread's number): splitmix64, since xorshift must not start at zero."""
    cdef uint64_t z = seed * <uint64_t>0x9E3779B97F4A7C15 + (stream + 1) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    z = z ^ (z >> 31)
    return z if z != 0 else 1


cdef inline uint64_t rng_next(Rng* rng) noexcept nogil:
    """The next 64 random bits."""
    cdef uint64_t x = rng[0]
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    rng[0] = x
    return x * <uint64_t>0x2545F4914F6CDD1D


cdef inline uint32_t scale(uint32_t bits, uint32_t bound) noexcept nogil:
    """Random bits mapped to 0 .. bound-1 by a multiplication: a division would cost more than a malloc."""
    return <uint32_t>((<uint64_t>bits * bound) >> 32)


cdef inline uint32_t below(Rng* rng, uint32_t bound) noexcept nogil:
    """A random number in 0 .. bound-1."""
    return scale(<uint32_t>(rng_next(rng) >> 32), bound)
