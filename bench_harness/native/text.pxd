"""A JSON line written into a fixed buffer: no stdio, because stdio would call the allocator under test."""
from libc.stdio cimport snprintf
from libc.string cimport strlen
from bench_harness.native.system cimport write

cdef enum:
    TEXT_ROOM = 262144  # bytes; a cell's line is 2 to 10 KiB, 200 with samples of its own and latencies


cdef struct Text:
    char[TEXT_ROOM] data
    long used


cdef inline void text_raw(Text* t, const char* s) noexcept nogil:
    """Append a C string as it is; what does not fit is cut, which the reader notices as invalid JSON."""
    cdef long n = <long>strlen(s), i
    for i in range(n):
        if t.used < TEXT_ROOM - 1:
            t.data[t.used] = s[i]
            t.used += 1


cdef inline void text_string(Text* t, const char* s) noexcept nogil:
    """Append a JSON string with its quotes; control characters become spaces."""
    cdef char[2] one
    cdef long i, n = <long>strlen(s)
    one[1] = 0
    text_raw(t, b'"')
    for i in range(n):
        if s[i] == c'"' or s[i] == c'\\':
            text_raw(t, b"\\")
        one[0] = s[i] if <unsigned char>s[i] >= 32 else c' '
        text_raw(t, one)
    text_raw(t, b'"')


cdef inline void text_key(Text* t, const char* key) noexcept nogil:
    """Append `"key":`, with a comma unless an object or list was just opened."""
    if t.used > 0 and t.data[t.used - 1] != c'{' and t.data[t.used - 1] != c'[':
        text_raw(t, b",")
    text_string(t, key)
    text_raw(t, b":")


cdef inline void text_number(Text* t, double value) noexcept nogil:
    """Append a number: all integers up to 2^53 are written exactly."""
    cdef char[40] digits
    if value == <double>(<long>value):
        snprintf(digits, sizeof(digits), "%ld", <long>value)
    else:
        snprintf(digits, sizeof(digits), "%.9g", value)
    text_raw(t, digits)


cdef inline void text_field(Text* t, const char* key, double value) noexcept nogil:
    text_key(t, key)
    text_number(t, value)


cdef inline void text_field_string(Text* t, const char* key, const char* value) noexcept nogil:
    text_key(t, key)
    text_string(t, value)


cdef inline void text_send(Text* t) noexcept nogil:
    """Write the buffer and a newline to standard output."""
    cdef long done = 0, n
    t.data[t.used] = c'\n'
    while done <= t.used:
        n = write(1, &t.data[done], <size_t>(t.used + 1 - done))
        if n <= 0:
            return
        done += n
