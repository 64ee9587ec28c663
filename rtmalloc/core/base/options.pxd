# Run-time options: options.toml declares them; this file reads the environment and checks ranges.
from libc.stdint cimport int64_t
from libc.string cimport memcmp, strlen

from rtmalloc.core.base._options cimport (
    RT_OPTION_COUNT, RT_PRESET_COUNT, RT_OPTION_background_thread, RT_OPTION_memory_limit,
)
from rtmalloc.core.base.attributes cimport cold_int, cold_void
from rtmalloc.core.base.complain cimport complain
from rtmalloc.core.types cimport Options

cdef extern from "base/options.h" nogil:
    ctypedef struct rt_option_spec:
        const char* name
        int64_t preset
        int64_t least
        int64_t most
        const char* unit
        const char* text
    const rt_option_spec rt_option_specs[]
    ctypedef struct rt_option_preset:
        const char* name
        const char* text
    const rt_option_preset rt_option_presets[]
    const char* RT_PRESET
    bint rt_environment_is_ready() noexcept
    char* rt_environment_get(const char* name) noexcept

cdef enum:
    OPTION_UNKNOWN = -1
    OPTION_OUT_OF_RANGE = -2
    OPTION_NAME_BYTES = 64
    PATH_BYTES = 1024          # of a file or directory that the environment names


cdef inline cold_void options_preset(Options* o) noexcept nogil:
    # What a process begins with.
    cdef int i
    for i in range(RT_OPTION_COUNT):
        o.value[i] = rt_option_specs[i].preset
    options_named(o, RT_PRESET, strlen(RT_PRESET))


cdef inline cold_int option_find(const char* name, size_t length) noexcept nogil:
    # Number of the option `name` (not terminated), or OPTION_UNKNOWN.
    cdef int i
    for i in range(RT_OPTION_COUNT):
        if strlen(rt_option_specs[i].name) == length and memcmp(rt_option_specs[i].name, name, length) == 0:
            return i
    return OPTION_UNKNOWN


cdef inline cold_int option_set(Options* o, int number, int64_t value) noexcept nogil:
    # Set one option; 0, or OPTION_OUT_OF_RANGE with nothing changed.
    if value < rt_option_specs[number].least or value > rt_option_specs[number].most:
        return OPTION_OUT_OF_RANGE
    o.value[number] = value
    return 0


cdef inline int option_parse_shift(const char* text, size_t length) noexcept nogil:
    # What "K", "KB", "KiB", "M" and so on stand for, as a power of two; -1 when it is none of them.
    cdef char unit = text[0] | 0x20
    if length == 2 and text[1] != c'B' or length == 3 and (text[1] != c'i' or text[2] != c'B') or length > 3:
        return -1
    return 10 if unit == c'k' else 20 if unit == c'm' else 30 if unit == c'g' else 40 if unit == c't' else -1


cdef inline cold_int option_parse_number(const char* text, size_t length, bint sizes, int64_t* value) noexcept nogil:
    # A decimal number with an optional minus; 1, or 0 when it is none. With `sizes` K, M, G or T may follow, as KiB and so on.
    cdef size_t i = 0
    cdef int64_t n = 0
    cdef int shift = 0
    cdef bint negative = length > 0 and text[0] == c'-'
    if negative:
        i = 1
    if i == length or length - i > 15:
        return 0
    while i < length:
        if sizes and i > 0 and (text[i] < c'0' or text[i] > c'9'):
            shift = option_parse_shift(text + i, length - i)
            break
        if text[i] < c'0' or text[i] > c'9':
            return 0
        n = n * 10 + (text[i] - c'0')
        i += 1
    if shift < 0 or (shift and (negative or n >> (62 - shift))):
        return 0
    value[0] = -n if negative else n << shift
    return 1


cdef inline bint option_is_size(int number) noexcept nogil:
    cdef const char* unit = rt_option_specs[number].unit
    return strlen(unit) == 5 and memcmp(unit, b"bytes", 5) == 0


cdef inline bint option_is_auto(int number, const char* text, size_t length) noexcept nogil:
    # The word for -1, where that means "by itself".
    return (
        (number == RT_OPTION_memory_limit or number == RT_OPTION_background_thread)
        and length == 4 and memcmp(text, b"auto", 4) == 0
    )


cdef inline cold_int option_parse_value(int number, const char* text, size_t length, int64_t* value) noexcept nogil:
    # 1, or 0 when the text is no value of this option.
    if option_is_auto(number, text, length):
        value[0] = -1
        return 1
    return option_parse_number(text, length, option_is_size(number), value)


cdef inline cold_void options_complain(const char* name, size_t length, const char* reason) noexcept nogil:
    cdef char shown[OPTION_NAME_BYTES]
    cdef size_t i = 0
    while i < length and i < OPTION_NAME_BYTES - 1:
        shown[i] = name[i]
        i += 1
    shown[i] = 0
    complain(b"RTMALLOC_OPTIONS", shown, reason)


cdef inline cold_int path_copy(char* path, const char* text, size_t length) noexcept nogil:
    # Keep a path of `length` bytes; 0 when it is too long.
    cdef size_t i
    if length >= PATH_BYTES:
        return 0
    for i in range(length):
        path[i] = text[i]
    path[length] = 0
    return 1


cdef inline cold_int options_named(Options* o, const char* name, size_t length) noexcept nogil:
    # Apply the set of options called `name`; whether there is one.
    cdef int i
    for i in range(RT_PRESET_COUNT):
        if strlen(rt_option_presets[i].name) == length and memcmp(rt_option_presets[i].name, name, length) == 0:
            options_read(o, rt_option_presets[i].text, NULL)
            return 1
    return 0


cdef inline cold_void options_read(Options* o, const char* text, char* config) noexcept nogil:
    # Apply "name=value,name=value". What is wrong is named on stderr, one line each, and keeps its default. The one value
    # that is no number, the path of `config`, goes to `config` (PATH_BYTES).
    cdef const char* name
    cdef const char* number
    cdef size_t name_length, length
    cdef int64_t value = 0
    cdef int option
    while text[0]:
        name = text
        while text[0] and text[0] != c'=' and text[0] != c',':
            text += 1
        name_length = <size_t>(text - name)
        number = text
        length = 0
        if text[0] == c'=':
            number = text + 1
            text += 1
            while text[0] and text[0] != c',':
                text += 1
            length = <size_t>(text - number)
        if text[0] == c',':
            text += 1
        if name_length == 0 and length == 0:
            continue
        if name_length == 6 and memcmp(name, b"config", 6) == 0:
            if not path_copy(config, number, length):
                options_complain(name, name_length, b"the path is too long")
            continue
        option = option_find(name, name_length)
        if name_length == 6 and memcmp(name, b"preset", 6) == 0:
            if not options_named(o, number, length):
                options_complain(name, name_length, b"there is no set of options of that name; the defaults stay")
        elif option == OPTION_UNKNOWN:
            options_complain(name, name_length, b"there is no such option")
        elif not option_parse_value(option, number, length, &value):
            options_complain(name, name_length, b"the value is not a whole number; the default stays")
        elif option_set(o, option, value) != 0:
            options_complain(name, name_length, b"the value is out of range; the default stays")
