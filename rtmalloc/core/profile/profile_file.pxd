# The profile as a file, written when the process ends: RTMALLOC_PROFILE=DIRECTORY.
# docs/profiles.md describes the format; rtmalloc/profile/recording.py writes the same from Python.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset, strlen

from rtmalloc.core.base.attributes cimport cold_int, cold_void
from rtmalloc.core.base.complain cimport complain
from rtmalloc.core.base.options cimport PATH_BYTES, path_copy, rt_environment_get, rt_environment_is_ready
from rtmalloc.core.base.platform cimport (
    rt_os_append, rt_os_close, rt_os_new_file, rt_os_process_id, rt_os_read_file, rt_os_wall_ms,
)
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size
from rtmalloc.core.profile.profile cimport profile_now, profile_read, profile_read_large
from rtmalloc.core.types cimport PROFILE_LARGE, PROFILE_SMALL, Allocator, ProfileBucket

cdef enum:
    PROFILE_TEXT_BYTES = 4096      # written at a time
    PROFILE_ITEM_BYTES = 256       # the longest thing that is appended at once is shorter

cdef extern from *:
    """
    #include <stddef.h>
    static char rt_profile_directory[1024];
    static char rt_heap_directory[1024];   /* of heap profiles (calls/heap_dump.pxd) */
    """
    char* rt_profile_directory
    char* rt_heap_directory

cdef struct ProfileText:
    int file
    int failed
    size_t length
    char text[PROFILE_TEXT_BYTES]


cdef inline cold_int profile_file_keep(char* directory, const char* variable) noexcept nogil:
    # Keep the directory that a variable of the environment names; whether it names one.
    cdef const char* name
    if not rt_environment_is_ready():
        return 0
    name = rt_environment_get(variable)
    if name == NULL or name[0] == 0:
        return 0
    if not path_copy(directory, name, strlen(name)):
        complain(variable, b"", b"the path is too long")
        return 0
    return 1


cdef inline cold_int profile_file_open() noexcept nogil:
    return profile_file_keep(rt_profile_directory, b"RTMALLOC_PROFILE")


cdef inline void profile_text_flush(ProfileText* t) noexcept nogil:
    if not t.failed and rt_os_append(t.file, t.text, t.length) != 0:
        t.failed = 1
    t.length = 0


cdef inline void profile_text(ProfileText* t, const char* text) noexcept nogil:
    if t.length > PROFILE_TEXT_BYTES - PROFILE_ITEM_BYTES:
        profile_text_flush(t)
    while text[0]:
        t.text[t.length] = text[0]
        t.length += 1
        text += 1


cdef inline void profile_number(ProfileText* t, uint64_t value) noexcept nogil:
    cdef char digits[21]
    cdef int n = 20
    digits[20] = 0
    while value or n == 20:
        n -= 1
        digits[n] = <char>(c'0' + value % 10)
        value //= 10
    profile_text(t, &digits[n])


cdef inline void profile_text_program(ProfileText* t) noexcept nogil:
    # The name of the program, without what JSON would have to escape.
    cdef char name[32]
    cdef int64_t length = rt_os_read_file(b"/proc/self/comm", name, sizeof(name) - 1)
    cdef int64_t i = 0
    while i < length and name[i] != c'\n':
        if name[i] < c' ' or name[i] > c'~' or name[i] == c'"' or name[i] == c'\\':
            name[i] = c'?'
        i += 1
    name[i if i > 0 else 0] = 0
    profile_text(t, name)


cdef inline void profile_write_row(ProfileText* t, bint first, uint64_t key, const uint64_t* values, uint32_t count) noexcept nogil:
    # [key, value, ...], on a line of its own.
    cdef uint32_t i
    profile_text(t, b"\n [" if first else b",\n [")
    profile_number(t, key)
    for i in range(count):
        profile_text(t, b", ")
        profile_number(t, values[i])
    profile_text(t, b"]")


cdef inline void profile_write_buckets(Allocator* a, ProfileText* t) noexcept nogil:
    cdef ProfileBucket bucket
    cdef uint64_t large[3]
    cdef uint32_t i
    cdef bint first = True
    profile_text(t, b'"small": [')
    for i in range(1, PROFILE_SMALL):
        if profile_read(a, i, &bucket):
            # A bucket is nothing but 64-bit numbers, in the order of the format.
            profile_write_row(t, first, <uint64_t>i * 16, <const uint64_t*>&bucket, sizeof(bucket) // sizeof(uint64_t))
            first = False
    profile_text(t, b'],\n"large": [')
    first = True
    for i in range(PROFILE_LARGE):
        if profile_read_large(a, i, large):
            profile_write_row(t, first, large[0], &large[1], 2)
            first = False
    profile_text(t, b"]\n}\n")


cdef inline void profile_write_head(Allocator* a, ProfileText* t) noexcept nogil:
    cdef uint32_t i
    profile_text(t, b'{"format": "rtmalloc-profile", "version": 1,\n"programs": {"')
    profile_text_program(t)
    profile_text(t, b'": 1},\n"processes": 1, "milliseconds": ')
    profile_number(t, profile_now(a))
    profile_text(t, b', "every": ')
    profile_number(t, a.profile.every)
    profile_text(t, b',\n"classes": [')
    for i in range(1, rt_class_count):
        if i > 1:
            profile_text(t, b", ")
        profile_number(t, rt_class_size[i])
    profile_text(t, b"],\n")


cdef inline cold_void profile_write(Allocator* a) noexcept nogil:
    # Write DIRECTORY/rtmalloc-PID-MS.json, if the environment named a directory. MS is the time, for process ids come back.
    cdef ProfileText t
    cdef char path[PATH_BYTES + 80]
    memset(&t, 0, sizeof(t))
    if rt_profile_directory[0] == 0 or a.profile.tables == NULL:
        return
    profile_text(&t, b"/rtmalloc-")
    profile_number(&t, rt_os_process_id())
    profile_text(&t, b"-")
    profile_number(&t, rt_os_wall_ms())
    profile_text(&t, b".json")
    t.text[t.length] = 0
    path_copy(path, rt_profile_directory, strlen(rt_profile_directory))
    path_join(path, t.text)
    t.length = 0
    t.file = rt_os_new_file(rt_profile_directory, path)
    if t.file < 0:
        complain(b"RTMALLOC_PROFILE", rt_profile_directory, b"no file can be made there")
        return
    profile_write_head(a, &t)
    profile_write_buckets(a, &t)
    profile_text_flush(&t)
    rt_os_close(t.file)
    if t.failed:
        complain(b"RTMALLOC_PROFILE", rt_profile_directory, b"the profile could not be written in full")


cdef inline void path_join(char* path, const char* rest) noexcept nogil:
    # (The caller has left room.)
    cdef size_t at = strlen(path)
    while rest[0]:
        path[at] = rest[0]
        at += 1
        rest += 1
    path[at] = 0
