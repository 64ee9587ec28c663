# A table of size classes, read from a file at start: RTMALLOC_OPTIONS="config=FILE".
#
# `rtmalloc classes compile` checks the rules of rtmalloc.toml and writes 32-bit little-endian words (table_compile() in
# rtmalloc/size_table.py): magic, version, bytes of a slice, number of classes; of each class the bytes of a block and the
# slices of a span; checksum. Here all is checked that the allocator relies on. Nothing allocates: there is no block yet.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint8_t
from libc.string cimport strlen

from rtmalloc.core.base.attributes cimport cold_int
from rtmalloc.core.base.complain cimport complain
from rtmalloc.core.base.config cimport RT_SLICE_BYTES
from rtmalloc.core.base.platform cimport rt_os_page_size, rt_os_read_file
from rtmalloc.core.base.size_class cimport (
    RT_MAX_SMALL, rt_bin_offset, rt_class_count, rt_class_largest, rt_class_size, rt_class_slices,
)
from rtmalloc.core.types cimport RT_CLASSES_MOST

cdef extern from "base/size_table.h" nogil:
    enum: RT_TABLE_MAGIC, RT_TABLE_VERSION, RT_TABLE_HEAD, RT_TABLE_WORDS, RT_LARGEST_SPAN_SLICES, RT_LARGEST_SPAN_BYTES
    uint32_t rt_table_checksum(const uint32_t* words, uint32_t count) noexcept
    void rt_table_name_set(const char* name) noexcept
    void rt_size_table_seal(size_t page) noexcept
    char* rt_table_name "rt_size_table.name"


cdef inline const char* table_problem(const uint32_t* words, int64_t bytes) noexcept nogil:
    # Why the allocator cannot use the words of a file of `bytes` bytes (at most RT_TABLE_WORDS + 1); NULL when it can.
    cdef uint32_t i, count, end, size, slices, previous = 0
    if bytes < 4 * RT_TABLE_HEAD or words[0] != RT_TABLE_MAGIC:
        return b"no compiled table: run `rtmalloc classes compile` on it"
    if words[1] != RT_TABLE_VERSION or words[2] != RT_SLICE_BYTES:
        return b"compiled by another version or for slices of another size: run `rtmalloc classes compile` again"
    count = words[3]
    end = RT_TABLE_HEAD + 2 * count
    if not 0 < count < RT_CLASSES_MOST or bytes != 4 * (<int64_t>end + 1) or words[end] != rt_table_checksum(words, end):
        return b"damaged or cut off: run `rtmalloc classes compile` again"
    for i in range(RT_TABLE_HEAD, end, 2):
        size = words[i]
        slices = words[i + 1]
        if size <= previous or size % 16 or size > RT_MAX_SMALL or slices & (slices - 1) or (
            slices > RT_LARGEST_SPAN_SLICES or not size <= slices * RT_SLICE_BYTES <= RT_LARGEST_SPAN_BYTES
        ):
            return b"a block's size or a span's length is none that this build can serve"
        previous = size
    return NULL


cdef inline void table_install(const uint32_t* words) noexcept nogil:
    # Make the classes at `words`, in which there is no problem, those of this process.
    global rt_class_count, rt_class_largest
    cdef uint32_t granule, c
    rt_class_count = words[3] + 1  # no-cython-lint: not a shadow of the global, but the global
    for c in range(1, RT_CLASSES_MOST):
        rt_class_size[c] = words[RT_TABLE_HEAD + 2 * c - 2] if c < rt_class_count else 0
        rt_class_slices[c] = <uint8_t>words[RT_TABLE_HEAD + 2 * c - 1] if c < rt_class_count else 0
    rt_class_largest = rt_class_size[rt_class_count - 1]  # no-cython-lint
    c = 1
    for granule in range(RT_MAX_SMALL // 16 + 1):
        c += c < rt_class_count and granule * 16 > rt_class_size[c]
        rt_bin_offset[granule] = <uint16_t>(c * 16) if c < rt_class_count else 0


cdef inline cold_int table_load(const char* name) noexcept nogil:
    # Take the table in the file `name`; 0 when that cannot be, which is told in one line on stderr.
    cdef uint32_t words[RT_TABLE_WORDS + 1]
    cdef int64_t bytes = rt_os_read_file(name, <char*>words, sizeof(words))
    cdef const char* problem = b"cannot be read"
    if bytes >= 0:
        problem = table_problem(words, bytes)
    if problem == NULL:
        table_install(words)
        rt_table_name_set(name)
        return 1
    # Of a long path the end is shown: the reason must find room.
    complain(b"the built-in table stays; config", name + (strlen(name) - 80 if strlen(name) > 80 else 0), problem)
    return 0


cdef inline void table_seal() noexcept nogil:
    # The table is final.
    rt_size_table_seal(rt_os_page_size())
