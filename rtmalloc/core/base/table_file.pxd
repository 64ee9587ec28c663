# A size-class table read from a file when the process starts: RTMALLOC_OPTIONS="config=FILE".
#
# The file is what rtmalloc/size_table.py reads for the build, in plain TOML: sections, `name = number`,
# `sizes = [numbers]`, comments. First the whole file is read into a TableText, then its rules are checked in the order in
# which size_table.py checks them (the texts of the rules come from there, too: RT_RULE_*). Nothing here allocates: it
# runs before the first block is handed out, and the file's text lies on the stack.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint8_t
from libc.string cimport memcmp, memset, strlen

from rtmalloc.core.base.attributes cimport cold_int, cold_void
from rtmalloc.core.base.complain cimport COMPLAINT_BYTES, text_append, text_append_number
from rtmalloc.core.base.config cimport RT_SLICE_BYTES
from rtmalloc.core.base.platform cimport rt_os_complain, rt_os_page_size, rt_os_read_file
from rtmalloc.core.base.size_class cimport (
    RT_MAX_SMALL, rt_bin_offset, rt_class_count, rt_class_largest, rt_class_size, rt_class_slices,
)
from rtmalloc.core.types cimport RT_CLASSES_MOST

cdef extern from "base/size_table.h" nogil:
    enum:
        RT_TABLE_NAME_BYTES
        RT_LARGEST_SPAN_SLICES
        RT_SLICE_LEAST
        RT_TINY_MAX
        RT_TINY_SPAN
        RT_SMALL_LIMIT
    const char* RT_RULE_toml
    const char* RT_RULE_section
    const char* RT_RULE_one
    const char* RT_RULE_key
    const char* RT_RULE_linear_step
    const char* RT_RULE_linear_max
    const char* RT_RULE_per_doubling
    const char* RT_RULE_max_small
    const char* RT_RULE_classes
    const char* RT_RULE_sizes
    const char* RT_RULE_multiple
    const char* RT_RULE_ascending
    const char* RT_RULE_largest
    const char* RT_RULE_first
    const char* RT_RULE_linear_bytes
    const char* RT_RULE_min_objects
    const char* RT_RULE_max_waste
    const char* RT_RULE_waste
    char* rt_table_name "rt_size_table.name"
    void rt_size_table_seal(size_t page) noexcept

cdef enum:
    TABLE_FILE_BYTES = 32768   # a table file is at most so long
    TABLE_SIZES = RT_CLASSES_MOST      # items kept of `sizes`: one more than there may be
    NUMBER_MOST = 1000000000000        # larger numbers count as this one
    FRACTION_DIGITS = 15

cdef enum:                     # ValueKind
    VALUE_NONE = 0             # the key is not there
    VALUE_WHOLE = 1            # a whole number
    VALUE_FRACTION = 2         # a number with a decimal point
    VALUE_LIST = 3
    VALUE_OTHER = 4            # a string, true, nan ...: TOML, but never right here

cdef enum:                     # Section
    SECTION_NONE = 0
    SECTION_GENERATE = 1
    SECTION_CLASSES = 2
    SECTION_SPANS = 3
    SECTION_LIMITS = 4
    SECTION_UNKNOWN = 5
    SECTIONS = 6

cdef enum:                     # Key
    KEY_LINEAR_STEP = 0        # the first four: [generate], in the order of their checks
    KEY_LINEAR_MAX = 1
    KEY_PER_DOUBLING = 2
    KEY_MAX_SMALL = 3
    KEY_SIZES = 4              # [classes]
    KEY_LINEAR_BYTES = 5       # [classes] linear_max
    KEY_MIN_OBJECTS = 6        # [spans]
    KEY_MAX_WASTE = 7          # [limits]
    KEYS = 8
    KEY_UNKNOWN = 8

cdef struct Value:
    int64_t whole
    double fraction            # of VALUE_WHOLE too
    uint32_t line
    uint8_t kind               # ValueKind

cdef struct TableText:
    # What the file says, and where; nothing of it is checked yet.
    const char* at
    const char* end
    uint32_t line              # of `at`
    uint32_t section_line[SECTIONS]    # 0 = not there; of SECTION_UNKNOWN: the first
    uint32_t unknown_key[SECTIONS]     # line of the first unknown key of a section; 0 = none
    Value value[KEYS]
    Value size[TABLE_SIZES]
    uint32_t size_count        # may be larger than TABLE_SIZES

cdef struct TableError:
    const char* rule           # NULL = none
    uint32_t line


# ---- the text

cdef inline bint table_fail(TableError* error, uint32_t line, const char* rule) noexcept nogil:
    if error.rule == NULL:
        error.rule = rule
        error.line = line
    return False


cdef inline bint table_is(const char* word, size_t length, const char* name) noexcept nogil:
    return strlen(name) == length and memcmp(word, name, length) == 0


cdef inline bint table_is_letter(char c) noexcept nogil:
    return c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c'0' <= c <= c'9' or c == c'_' or c == c'-'


cdef inline void table_blank(TableText* t, bint lines) noexcept nogil:
    # Step over blanks and, with `lines`, over line ends and comments.
    while t.at < t.end:
        if t.at[0] == c' ' or t.at[0] == c'\t' or (t.at[0] == c'\r' and t.at + 1 < t.end and t.at[1] == c'\n'):
            t.at += 1
        elif lines and t.at[0] == c'\n':
            t.at += 1
            t.line += 1
        elif lines and t.at[0] == c'#':
            while t.at < t.end and t.at[0] != c'\n':
                t.at += 1
        else:
            return


cdef inline bint table_line_ends(TableText* t) noexcept nogil:
    # Whether nothing but a comment follows in this line.
    table_blank(t, False)
    return t.at == t.end or t.at[0] == c'\n' or t.at[0] == c'#'


cdef inline size_t table_word(TableText* t, const char** word) noexcept nogil:
    # A bare word of letters, digits, _ and -; its length.
    word[0] = t.at
    while t.at < t.end and table_is_letter(t.at[0]):
        t.at += 1
    return <size_t>(t.at - word[0])


cdef inline cold_int table_number(TableText* t, Value* v) noexcept nogil:
    # A decimal number, with a point or without; 0 when it is none that TOML takes.
    cdef bint negative = t.at < t.end and t.at[0] == c'-'
    cdef const char* first
    cdef int64_t scale = 1
    cdef int64_t digits
    if t.at < t.end and (t.at[0] == c'-' or t.at[0] == c'+'):
        t.at += 1
    first = t.at
    v.kind = VALUE_WHOLE
    v.whole = 0
    while t.at < t.end and c'0' <= t.at[0] <= c'9':
        if v.whole < NUMBER_MOST:
            v.whole = v.whole * 10 + (t.at[0] - c'0')
        t.at += 1
    # Not empty, and no zero in front.
    if t.at == first or (first[0] == c'0' and t.at - first > 1):
        return 0
    digits = v.whole
    if t.at < t.end and t.at[0] == c'.':
        v.kind = VALUE_FRACTION
        t.at += 1
        first = t.at
        while t.at < t.end and c'0' <= t.at[0] <= c'9':
            if digits < NUMBER_MOST * 100 and scale < NUMBER_MOST * 1000:
                # Below 2**53 both, so that the quotient is the very number that Python reads.
                digits = digits * 10 + (t.at[0] - c'0')
                scale *= 10
            t.at += 1
        if t.at == first:
            return 0
    if negative:
        v.whole = -v.whole
        digits = -digits
    v.fraction = <double>digits / <double>scale
    return 1


cdef inline cold_int table_scalar(TableText* t, Value* v) noexcept nogil:
    # A number, or something that is TOML but no number; 0 when it is neither.
    cdef const char* word
    cdef size_t length
    cdef char quote
    v.line = t.line
    if t.at == t.end:
        return 0
    quote = t.at[0]
    if quote == c'"' or quote == c"'":
        t.at += 1
        while t.at < t.end and t.at[0] != quote:
            if t.at[0] == c'\n' or t.at[0] == c'\\':
                return 0
            t.at += 1
        if t.at == t.end:
            return 0
        t.at += 1
        v.kind = VALUE_OTHER
        return 1
    if c'a' <= quote <= c'z':
        length = table_word(t, &word)
        v.kind = VALUE_OTHER
        return (
            table_is(word, length, b"true") or table_is(word, length, b"false") or table_is(word, length, b"nan")
            or table_is(word, length, b"inf")
        )
    return table_number(t, v)


cdef inline cold_int table_list(TableText* t, Value* v, bint keep) noexcept nogil:
    # [number, number, ...] behind its bracket, over many lines if need be, with a comma at the end or without. The items
    # are kept if they are those of `sizes`.
    cdef Value item
    v.kind = VALUE_LIST
    while True:
        table_blank(t, True)
        if t.at < t.end and t.at[0] == c']':
            t.at += 1
            return 1
        memset(&item, 0, sizeof(item))
        if not table_scalar(t, &item):
            return 0
        if keep and t.size_count < TABLE_SIZES:
            t.size[t.size_count] = item
        t.size_count += keep
        table_blank(t, True)
        if t.at < t.end and t.at[0] == c',':
            t.at += 1
        elif t.at == t.end or t.at[0] != c']':
            return 0


cdef inline uint32_t table_section_of(const char* word, size_t length) noexcept nogil:
    if table_is(word, length, b"generate"):
        return SECTION_GENERATE
    if table_is(word, length, b"classes"):
        return SECTION_CLASSES
    if table_is(word, length, b"spans"):
        return SECTION_SPANS
    if table_is(word, length, b"limits"):
        return SECTION_LIMITS
    return SECTION_UNKNOWN


cdef inline uint32_t table_key_of(uint32_t section, const char* word, size_t length) noexcept nogil:
    if section == SECTION_GENERATE:
        if table_is(word, length, b"linear_step"):
            return KEY_LINEAR_STEP
        if table_is(word, length, b"linear_max"):
            return KEY_LINEAR_MAX
        if table_is(word, length, b"per_doubling"):
            return KEY_PER_DOUBLING
        if table_is(word, length, b"max_small"):
            return KEY_MAX_SMALL
    if section == SECTION_CLASSES:
        if table_is(word, length, b"sizes"):
            return KEY_SIZES
        if table_is(word, length, b"linear_max"):
            return KEY_LINEAR_BYTES
    if section == SECTION_SPANS and table_is(word, length, b"min_objects"):
        return KEY_MIN_OBJECTS
    if section == SECTION_LIMITS and table_is(word, length, b"max_waste"):
        return KEY_MAX_WASTE
    return KEY_UNKNOWN


cdef inline cold_int table_assignment(TableText* t, uint32_t section) noexcept nogil:
    # `key = value` in a section; 0 when it is not TOML, or a second time the same key.
    cdef const char* word
    cdef size_t length = table_word(t, &word)
    cdef uint32_t key = table_key_of(section, word, length)
    cdef uint32_t line = t.line
    cdef Value v
    memset(&v, 0, sizeof(v))
    if length == 0:
        return 0
    table_blank(t, False)
    if t.at == t.end or t.at[0] != c'=':
        return 0
    t.at += 1
    table_blank(t, False)
    if t.at < t.end and t.at[0] == c'[':
        t.at += 1
        if not table_list(t, &v, key == KEY_SIZES and t.value[key].kind == VALUE_NONE):
            return 0
    elif not table_scalar(t, &v):
        return 0
    v.line = line
    if section == SECTION_NONE:
        # As to size_table.py: a key in front of all sections is a section that nobody knows.
        if t.section_line[SECTION_UNKNOWN] == 0:
            t.section_line[SECTION_UNKNOWN] = line
        return table_line_ends(t)
    if key == KEY_UNKNOWN:
        if t.unknown_key[section] == 0:
            t.unknown_key[section] = line
        return table_line_ends(t)
    if t.value[key].kind != VALUE_NONE:
        return 0
    t.value[key] = v
    return table_line_ends(t)


cdef inline cold_int table_scan(TableText* t) noexcept nogil:
    # Read the whole text; 0 at the first line that is not plain TOML, which is then t.line.
    cdef const char* word
    cdef size_t length
    cdef uint32_t section = SECTION_NONE
    cdef uint32_t line
    t.line = 1
    while True:
        table_blank(t, True)
        if t.at == t.end:
            return 1
        line = t.line
        if t.at[0] == c'[':
            t.at += 1
            table_blank(t, False)
            length = table_word(t, &word)
            table_blank(t, False)
            if length == 0 or t.at == t.end or t.at[0] != c']':
                return 0
            t.at += 1
            section = table_section_of(word, length)
            if not table_line_ends(t) or (section != SECTION_UNKNOWN and t.section_line[section]):
                return 0
            if t.section_line[section] == 0:
                t.section_line[section] = line
        elif not table_assignment(t, section):
            return 0


# ---- the rules, in the order of size_table.py

cdef inline bint table_whole(const TableText* t, uint32_t key) noexcept nogil:
    return t.value[key].kind == VALUE_WHOLE


cdef inline bint power_of_two(int64_t n) noexcept nogil:
    return n & (n - 1) == 0


cdef inline cold_int table_generate(TableText* t, int64_t* sizes, uint32_t* count, TableError* error) noexcept nogil:
    # The sizes of [generate]; 0 with `error` set.
    cdef int64_t step = t.value[KEY_LINEAR_STEP].whole
    cdef int64_t linear_max = t.value[KEY_LINEAR_MAX].whole
    cdef int64_t per = t.value[KEY_PER_DOUBLING].whole
    cdef int64_t max_small = t.value[KEY_MAX_SMALL].whole
    cdef int64_t base, k
    cdef const char* rules[4]
    cdef uint32_t line[4]
    cdef uint32_t i
    rules[0] = RT_RULE_linear_step
    rules[1] = RT_RULE_linear_max
    rules[2] = RT_RULE_per_doubling
    rules[3] = RT_RULE_max_small
    if t.unknown_key[SECTION_GENERATE]:
        return table_fail(error, t.unknown_key[SECTION_GENERATE], RT_RULE_key)
    for i in range(4):
        line[i] = t.value[i].line if t.value[i].kind != VALUE_NONE else t.section_line[SECTION_GENERATE]
        if not table_whole(t, i):
            return table_fail(error, line[i], rules[i])
    if step <= 0 or step % 16:
        return table_fail(error, line[0], rules[0])
    if linear_max < step or not power_of_two(linear_max) or linear_max % step:
        return table_fail(error, line[1], rules[1])
    if per < 1 or per > 16 or not power_of_two(per) or linear_max // per % 16:
        return table_fail(error, line[2], rules[2])
    if not power_of_two(max_small) or max_small < linear_max or max_small > RT_SMALL_LIMIT:
        return table_fail(error, line[3], rules[3])
    if step != 16:
        return table_fail(error, line[0], RT_RULE_first)
    count[0] = 0
    base = step
    while base <= linear_max:
        if count[0] < RT_CLASSES_MOST:
            sizes[count[0]] = base
        count[0] += 1
        base += step
    base = linear_max
    while base < max_small:
        for k in range(1, per + 1):
            if count[0] < RT_CLASSES_MOST:
                sizes[count[0]] = base + base // per * k
            count[0] += 1
        base *= 2
    if count[0] > RT_CLASSES_MOST - 1:
        return table_fail(error, t.section_line[SECTION_GENERATE], RT_RULE_classes)
    return 1


cdef inline cold_int table_explicit(TableText* t, int64_t* sizes, uint32_t* count, TableError* error) noexcept nogil:
    # The sizes of [classes]; 0 with `error` set.
    cdef const Value* list_ = &t.value[KEY_SIZES]
    cdef const Value* item
    cdef int64_t previous = 0
    cdef uint32_t i
    if t.unknown_key[SECTION_CLASSES]:
        return table_fail(error, t.unknown_key[SECTION_CLASSES], RT_RULE_key)
    if list_.kind != VALUE_LIST or t.size_count == 0:
        return table_fail(
            error, list_.line if list_.kind != VALUE_NONE else t.section_line[SECTION_CLASSES], RT_RULE_sizes
        )
    for i in range(t.size_count if t.size_count < TABLE_SIZES else TABLE_SIZES):
        item = &t.size[i]
        if item.kind != VALUE_WHOLE or item.whole <= 0 or item.whole % 16:
            return table_fail(error, item.line, RT_RULE_multiple)
        if item.whole <= previous:
            return table_fail(error, item.line, RT_RULE_ascending)
        if item.whole > RT_SMALL_LIMIT:
            return table_fail(error, item.line, RT_RULE_largest)
        if i >= RT_CLASSES_MOST - 1:
            return table_fail(error, item.line, RT_RULE_classes)
        sizes[i] = item.whole
        previous = item.whole
    count[0] = t.size_count
    if sizes[0] != 16:
        return table_fail(error, t.size[0].line, RT_RULE_first)
    if t.value[KEY_LINEAR_BYTES].kind != VALUE_NONE and (
        not table_whole(t, KEY_LINEAR_BYTES) or t.value[KEY_LINEAR_BYTES].whole < 16
    ):
        return table_fail(error, t.value[KEY_LINEAR_BYTES].line, RT_RULE_linear_bytes)
    return 1


cdef inline cold_int table_check_waste(
    TableText* t, const int64_t* sizes, uint32_t count, int64_t linear_max, TableError* error
) noexcept nogil:
    cdef const Value* v = &t.value[KEY_MAX_WASTE]
    cdef double most = 1.0
    cdef int64_t least         # the unluckiest request above linear_max that a class serves
    cdef uint32_t i
    if v.kind != VALUE_NONE:
        if (v.kind != VALUE_WHOLE and v.kind != VALUE_FRACTION) or v.fraction <= 0 or v.fraction > 1:
            return table_fail(error, v.line, RT_RULE_max_waste)
        most = v.fraction
    for i in range(1, count):
        least = (sizes[i - 1] if sizes[i - 1] > linear_max else linear_max) + 1
        if <double>(sizes[i] - least) / <double>sizes[i] > most:
            return table_fail(
                error, t.size[i].line if t.section_line[SECTION_CLASSES] else v.line, RT_RULE_waste
            )
    return 1


cdef inline cold_int table_check(
    TableText* t, int64_t* sizes, uint32_t* count, int64_t* min_objects, TableError* error
) noexcept nogil:
    # The sizes that the text describes, if it keeps every rule; 0 with `error` set if not.
    cdef bint explicit = t.section_line[SECTION_CLASSES] != 0
    cdef int64_t linear_max = 256
    cdef int64_t most
    if t.section_line[SECTION_UNKNOWN]:
        return table_fail(error, t.section_line[SECTION_UNKNOWN], RT_RULE_section)
    if explicit == (t.section_line[SECTION_GENERATE] != 0):
        return table_fail(error, 1, RT_RULE_one)
    if explicit:
        if not table_explicit(t, sizes, count, error):
            return 0
        if t.value[KEY_LINEAR_BYTES].kind != VALUE_NONE:
            linear_max = t.value[KEY_LINEAR_BYTES].whole
    else:
        if not table_generate(t, sizes, count, error):
            return 0
        linear_max = t.value[KEY_LINEAR_MAX].whole
    if t.unknown_key[SECTION_SPANS]:
        return table_fail(error, t.unknown_key[SECTION_SPANS], RT_RULE_key)
    if t.unknown_key[SECTION_LIMITS]:
        return table_fail(error, t.unknown_key[SECTION_LIMITS], RT_RULE_key)
    min_objects[0] = 16
    most = <int64_t>RT_LARGEST_SPAN_SLICES * RT_SLICE_LEAST // sizes[count[0] - 1]
    if t.value[KEY_MIN_OBJECTS].kind != VALUE_NONE:
        min_objects[0] = t.value[KEY_MIN_OBJECTS].whole
        if not table_whole(t, KEY_MIN_OBJECTS):
            min_objects[0] = 0
    if min_objects[0] < 1 or min_objects[0] > most:
        # (The default always fits: 16 of the largest block that there may be.)
        return table_fail(error, t.value[KEY_MIN_OBJECTS].line, RT_RULE_min_objects)
    if not table_check_waste(t, sizes, count[0], linear_max, error):
        return 0
    if sizes[count[0] - 1] > RT_MAX_SMALL:
        return table_fail(
            error, t.size[count[0] - 1].line if explicit else t.value[KEY_MAX_SMALL].line,
            b"the largest block is larger than this build has room for",
        )
    return 1


# ---- the table

cdef inline uint8_t table_slices(int64_t size, int64_t min_objects) noexcept nogil:
    # As SizeTable.slices in size_table.py.
    cdef int64_t slices = 1
    if size <= RT_TINY_MAX and <int64_t>RT_TINY_SPAN > RT_SLICE_BYTES:
        slices = RT_TINY_SPAN // RT_SLICE_BYTES
    while slices < RT_LARGEST_SPAN_SLICES and slices * RT_SLICE_BYTES // size < min_objects:
        slices *= 2
    return <uint8_t>slices


cdef inline void table_install(const int64_t* sizes, uint32_t count, int64_t min_objects) noexcept nogil:
    # Make `sizes` the classes 1.. of this process. No block has been handed out yet.
    global rt_class_count, rt_class_largest
    cdef uint32_t c, granule
    for c in range(1, RT_CLASSES_MOST):
        rt_class_size[c] = <uint32_t>sizes[c - 1] if c <= count else 0
        rt_class_slices[c] = table_slices(sizes[c - 1], min_objects) if c <= count else 0
    c = 1
    for granule in range(RT_MAX_SMALL // 16 + 1):
        while c <= count and sizes[c - 1] < <int64_t>granule * 16:
            c += 1
        rt_bin_offset[granule] = <uint16_t>(c * 16) if c <= count else 0
    rt_class_count = count + 1
    rt_class_largest = <uint32_t>sizes[count - 1]


cdef inline cold_void table_complain(const char* name, const TableError* error) noexcept nogil:
    # rtmalloc: config FILE:LINE: RULE; the built-in table stays
    cdef char line[COMPLAINT_BYTES]
    cdef size_t skip = 0
    cdef size_t at = text_append(line, 0, b"rtmalloc: config ")
    if strlen(name) > 80:
        # The rule must find room: of a long path the end is shown.
        skip = strlen(name) - 80
        at = text_append(line, at, b"...")
    at = text_append(line, at, name + skip)
    if error.line:
        at = text_append(line, at, b":")
        at = text_append_number(line, at, error.line)
    at = text_append(line, at, b": ")
    at = text_append(line, at, error.rule)
    at = text_append(line, at, b"; the built-in table stays")
    line[at] = c'\n'
    rt_os_complain(line, at + 1)


cdef inline cold_int table_parse(const char* text, size_t length, int64_t* sizes, uint32_t* count, int64_t* min_objects, TableError* error) noexcept nogil:
    # The sizes of a table file's text; 0 with `error` set.
    cdef TableText t
    memset(&t, 0, sizeof(t))
    memset(error, 0, sizeof(error[0]))
    t.at = text
    t.end = text + length
    if not table_scan(&t):
        return table_fail(error, t.line, RT_RULE_toml)
    return table_check(&t, sizes, count, min_objects, error)


cdef inline cold_int table_load(const char* name) noexcept nogil:
    # Take the table in the file `name`; 0 when that cannot be, which is told in one line on stderr.
    cdef char text[TABLE_FILE_BYTES]
    cdef int64_t sizes[RT_CLASSES_MOST]
    cdef TableError error
    cdef uint32_t count = 0
    cdef int64_t min_objects = 0
    cdef int64_t length = rt_os_read_file(name, text, sizeof(text))
    cdef size_t i = 0
    memset(&error, 0, sizeof(error))
    if length < 0:
        table_fail(&error, 0, b"cannot be read")
    elif length >= <int64_t>sizeof(text):
        table_fail(&error, 0, b"longer than 32 KiB")
    elif table_parse(text, <size_t>length, sizes, &count, &min_objects, &error):
        table_install(sizes, count, min_objects)
        while name[i] and i < RT_TABLE_NAME_BYTES - 1:
            rt_table_name[i] = name[i]
            i += 1
        return 1
    table_complain(name, &error)
    return 0


cdef inline void table_seal() noexcept nogil:
    # The table is final.
    rt_size_table_seal(rt_os_page_size())
