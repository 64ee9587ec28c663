"""Parameters of a cell: declared once by the call that reads them, so `--describe` can never lie.

A workload's `declare` function calls `integer`, `real` or `choice` for each parameter. With `--describe` the
calls record what exists; in either case they return the value from the command line (`name=value`).
"""
from libc.stdlib cimport strtod
from libc.string cimport strchr, strlen, strncmp
from bench_harness.native.system cimport _exit, dprintf
from bench_harness.native.text cimport Text, text_field, text_field_string, text_key, text_raw

cdef enum:
    PARAMS_MOST = 24
    EXIT_USAGE = 2


cdef struct Param:
    const char* name
    const char* unit
    const char* help
    const char* choices   # "random|age", or NULL for a number
    double value
    double default
    double smallest
    double largest
    const char* text      # a file's default, or what was given for it; NULL for numbers and words
    bint whole            # only integers are valid


cdef struct Params:
    int argc
    char** argv
    bint describe
    int count
    double takes          # seconds that the work takes by itself; 0 when the clock decides (`seconds`)
    Param[PARAMS_MOST] at


cdef inline const char* given(Params* p, const char* name) noexcept nogil:
    """The text after `name=` on the command line (the last one counts), or NULL."""
    cdef int i = p.argc - 1
    cdef size_t n = strlen(name)
    while i >= 1:
        if strncmp(p.argv[i], name, n) == 0 and p.argv[i][n] == c'=':
            return p.argv[i] + n + 1
        i -= 1
    return NULL


cdef inline Param* param_add(Params* p, const char* name, const char* unit, const char* help) noexcept nogil:
    cdef Param* q
    if p.count == PARAMS_MOST:
        dprintf(2, "too many parameters: raise PARAMS_MOST\n")
        _exit(EXIT_USAGE)
    q = &p.at[p.count]
    p.count += 1
    q.name = name
    q.unit = unit
    q.help = help
    q.choices = q.text = NULL
    q.whole = False
    return q


cdef inline double param_number(Params* p, Param* q) noexcept nogil:
    """The given value or the default; ends the process with status 2 when it is no number in the range."""
    cdef const char* text = given(p, q.name)
    cdef char* end
    q.value = q.default
    if text != NULL:
        q.value = strtod(text, &end)
        if end == text or end[0] != 0 or not (q.smallest <= q.value <= q.largest) \
                or (q.whole and q.value != <double>(<long>q.value)):
            dprintf(2, "%s=%s: must be %s from %.10g to %.10g %s\n", q.name, text,
                    b"a whole number" if q.whole else b"a number", q.smallest, q.largest, q.unit)
            _exit(EXIT_USAGE)
    return q.value


cdef inline long integer(Params* p, const char* name, long default, long smallest, long largest,
                         const char* unit, const char* help) noexcept nogil:
    """Declare and read a whole number in smallest..largest (inclusive), counted in `unit`."""
    cdef Param* q = param_add(p, name, unit, help)
    q.default = <double>default
    q.smallest = <double>smallest
    q.largest = <double>largest
    q.whole = True
    return <long>param_number(p, q)


cdef inline double real(Params* p, const char* name, double default, double smallest, double largest,
                        const char* unit, const char* help) noexcept nogil:
    """Declare and read a real number in smallest..largest (inclusive), counted in `unit`."""
    cdef Param* q = param_add(p, name, unit, help)
    q.default = default
    q.smallest = smallest
    q.largest = largest
    return param_number(p, q)


cdef inline int choice(Params* p, const char* name, const char* choices, const char* help) noexcept nogil:
    """Declare and read one word of `choices` ("random|age"); the first is the default. Returns its index."""
    cdef Param* q = param_add(p, name, b"", help)
    cdef const char* text = given(p, name)
    cdef const char* word = choices
    cdef const char* end
    cdef size_t n
    cdef int index = 0
    q.choices = choices
    q.value = q.default = 0
    if text == NULL:
        return 0
    while True:
        end = strchr(word, c'|')
        n = <size_t>(end - word) if end != NULL else strlen(word)
        if strlen(text) == n and strncmp(text, word, n) == 0:
            q.value = index
            return index
        if end == NULL:
            dprintf(2, "%s=%s: must be one of %s\n", name, text, choices)
            _exit(EXIT_USAGE)
        word = end + 1
        index += 1


cdef inline const char* file_name(Params* p, const char* name, const char* default, const char* help) noexcept nogil:
    """Declare and read the name of a file; NULL when none was given, in which case only `--describe` goes on."""
    cdef const char* text = given(p, name)
    param_add(p, name, b"", help).text = default if text == NULL else text
    if text == NULL and not p.describe:
        dprintf(2, "%s=: must name a file\n", name)
        _exit(EXIT_USAGE)
    return text


cdef inline void params_check(Params* p) noexcept nogil:
    """End the process with status 2 when an argument names no declared parameter."""
    cdef int i, k
    cdef size_t n
    for i in range(1, p.argc):
        for k in range(p.count):
            n = strlen(p.at[k].name)
            if strncmp(p.argv[i], p.at[k].name, n) == 0 and p.argv[i][n] == c'=':
                break
        else:
            dprintf(2, "%s: unknown argument; valid are", p.argv[i])
            for k in range(p.count):
                dprintf(2, " %s=", p.at[k].name)
            dprintf(2, " and --describe\n")
            _exit(EXIT_USAGE)


cdef inline void params_describe(Params* p, Text* t) noexcept nogil:
    """Append the list of declared parameters as JSON objects."""
    cdef int i
    cdef Param* q
    text_key(t, b"parameters")
    text_raw(t, b"[")
    for i in range(p.count):
        q = &p.at[i]
        text_raw(t, b"{" if i == 0 else b",{")
        text_field_string(t, b"name", q.name)
        text_field_string(t, b"unit", q.unit)
        text_field_string(t, b"help", q.help)
        if q.choices != NULL:
            text_field_string(t, b"choices", q.choices)
        elif q.text != NULL:
            text_field_string(t, b"type", b"file")
            text_field_string(t, b"default", q.text)
        else:
            text_field_string(t, b"type", b"integer" if q.whole else b"real")
            text_field(t, b"default", q.default)
            text_field(t, b"smallest", q.smallest)
            text_field(t, b"largest", q.largest)
        text_raw(t, b"}")
    text_raw(t, b"]")
