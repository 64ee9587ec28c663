# Text of a heap profile: strings and numbers as JSON has them.
from libc.stdint cimport uint64_t

from rtmalloc.core.profile.profile_file cimport (
    PROFILE_ITEM_BYTES, PROFILE_TEXT_BYTES, ProfileText, profile_number, profile_text, profile_text_flush,
)


cdef inline void heap_text_escaped(ProfileText* t, const char* text, size_t length) noexcept nogil:
    # As JSON has it; bytes from 128 on are UTF-8 already, or will be replaced by who reads.
    cdef size_t i
    cdef char c
    for i in range(length):
        if t.length > PROFILE_TEXT_BYTES - PROFILE_ITEM_BYTES:
            profile_text_flush(t)
        c = text[i]
        if c == c'\n':
            t.text[t.length] = c'\\'
            t.length += 1
            c = c'n'
        elif c == c'"' or c == c'\\':
            t.text[t.length] = c'\\'
            t.length += 1
        elif 0 <= c < 32:
            c = c' '
        t.text[t.length] = c
        t.length += 1


cdef inline void heap_text_string(ProfileText* t, const char* text, size_t length) noexcept nogil:
    profile_text(t, b'"')
    heap_text_escaped(t, text, length)
    profile_text(t, b'"')


cdef inline void heap_text_next(ProfileText* t, uint64_t value) noexcept nogil:
    # The next number of a list that has begun.
    profile_text(t, b", ")
    profile_number(t, value)


cdef inline void heap_text_item(ProfileText* t, const char* name, uint64_t value) noexcept nogil:
    # "name": value, on a line of its own.
    profile_text(t, b',\n"')
    profile_text(t, name)
    profile_text(t, b'": ')
    profile_number(t, value)
