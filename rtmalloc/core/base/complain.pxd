# One line on stderr about a broken program, then abort.
# No stdio: its buffers would come from malloc.
from libc.stdint cimport uint64_t

from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.platform cimport abort, rt_os_complain

cdef enum:
    COMPLAINT_BYTES = 240


cdef inline size_t text_append(char* line, size_t at, const char* text) noexcept nogil:
    while text[0] and at < COMPLAINT_BYTES - 1:
        line[at] = text[0]
        at += 1
        text += 1
    return at


cdef inline size_t text_append_hex(char* line, size_t at, size_t value) noexcept nogil:
    # (No look-up in a string literal: that is a Python object, which the preload library does not have.)
    cdef int shift = 60
    cdef int digit
    at = text_append(line, at, b"0x")
    while shift > 0 and not (value >> shift) & 15:
        shift -= 4
    while shift >= 0 and at < COMPLAINT_BYTES - 1:
        digit = <int>((value >> shift) & 15)
        line[at] = <char>(c'0' + digit if digit < 10 else c'a' + digit - 10)
        at += 1
        shift -= 4
    return at


cdef inline size_t text_append_number(char* line, size_t at, uint64_t value) noexcept nogil:
    cdef char digits[20]
    cdef int n = 0
    while value or n == 0:
        digits[n] = <char>(c'0' + value % 10)
        value //= 10
        n += 1
    while n and at < COMPLAINT_BYTES - 1:
        n -= 1
        line[at] = digits[n]
        at += 1
    return at


cdef inline cold_void complain_of_pointer(const char* call, const void* p, const char* reason) noexcept nogil:
    # The program handed `p` to `call`, and it cannot be right: say so and end the process, before memory that somebody
    # else owns is damaged.
    cdef char line[COMPLAINT_BYTES]
    cdef size_t at = text_append(line, 0, b"rtmalloc: ")
    at = text_append(line, at, call)
    at = text_append(line, at, b"(")
    at = text_append_hex(line, at, <size_t>p)
    at = text_append(line, at, b"): ")
    at = text_append(line, at, reason)
    line[at] = c'\n'
    rt_os_complain(line, at + 1)
    abort()


cdef inline cold_void complain(const char* about, const char* name, const char* reason) noexcept nogil:
    # A message that is no reason to end: `rtmalloc: ABOUT NAME: REASON`.
    cdef char line[COMPLAINT_BYTES]
    cdef size_t at = text_append(line, 0, b"rtmalloc: ")
    at = text_append(line, at, about)
    at = text_append(line, at, b" ")
    at = text_append(line, at, name)
    at = text_append(line, at, b": ")
    at = text_append(line, at, reason)
    line[at] = c'\n'
    rt_os_complain(line, at + 1)
