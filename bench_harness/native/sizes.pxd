"""Block sizes: uniform in a range that two parameters declare, or a power law from a table."""
from libc.math cimport pow
from libc.stdint cimport uint32_t
from bench_harness.native.params cimport EXIT_USAGE, Params, integer
from bench_harness.native.random cimport scale
from bench_harness.native.system cimport _exit, dprintf


cdef enum:
    SIZE_LEAST = 4      # bytes: a block starts with its own size (slots.pxd)


cdef struct Sizes:
    uint32_t smallest   # bytes
    uint32_t span       # sizes are smallest .. smallest + span - 1


cdef inline void sizes_between(Sizes* s, long low, long high) noexcept nogil:
    """Sizes from `low` to `high` bytes; low > high ends the process with status 2."""
    if low > high:
        dprintf(2, "the smallest block, %ld bytes, must not exceed the largest, %ld\n", low, high)
        _exit(EXIT_USAGE)
    s.smallest = <uint32_t>low
    s.span = <uint32_t>(high - low + 1)


cdef inline void declare_sizes(Params* p, Sizes* s, long smallest, long largest) noexcept nogil:
    """Declare the parameters `min` and `max` in bytes; min > max ends the process with status 2."""
    cdef long low = integer(p, b"min", smallest, SIZE_LEAST, 1 << 30, b"bytes", b"smallest block")
    sizes_between(s, low, integer(p, b"max", largest, SIZE_LEAST, 1 << 30, b"bytes", b"largest block"))


cdef inline uint32_t size_from(const Sizes* s, uint32_t bits) noexcept nogil:
    """A size in bytes from 32 random bits."""
    return s.smallest + scale(bits, s.span)


cdef enum:
    SIZE_STEPS = 4096   # entries of a size table: fine enough for a tail of 1 in 4096


cdef struct SizeTable:
    uint32_t[SIZE_STEPS] size   # bytes; drawing an entry at random draws from the distribution


cdef inline void sizes_power_law(SizeTable* table, long smallest, long largest, double exponent) noexcept nogil:
    """Sizes between `smallest` and `largest` bytes with density size^-exponent (exponent > 1).

    The inverse of the distribution function at the middle of each of SIZE_STEPS equal steps.
    """
    cdef double low = pow(<double>smallest, 1.0 - exponent)
    cdef double high = pow(<double>largest, 1.0 - exponent)
    cdef long size
    cdef int i
    for i in range(SIZE_STEPS):
        size = <long>(pow(low + (high - low) * (i + 0.5) / SIZE_STEPS, 1.0 / (1.0 - exponent)) + 0.5)
        # The power of a power is off by a last digit: without the bounds a size may leave the range by one.
        table.size[i] = <uint32_t>(smallest if size < smallest else largest if size > largest else size)


cdef inline uint32_t sizes_draw(const SizeTable* table, uint32_t bits) noexcept nogil:
    """A size in bytes from 32 random bits."""
    return table.size[bits >> 20]
