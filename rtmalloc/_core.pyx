# cython: freethreading_compatible=True, subinterpreters_compatible=own_gil
"""The allocator core, as one translation unit, and its Python face. rtmalloc/core/README.md has the map of its layers."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cpython.object cimport PyObject

from rtmalloc.core.alternatives.percpu cimport RT_PERCPU_BEAT, RT_PERCPU_LIMIT
from rtmalloc.core.base._numbers cimport (
    RT_CLASS_STATS_COUNT, RT_HEAP_COUNTERS_COUNT, RT_HEAP_STATS_COUNT, RT_STATS_COUNT, ClassStats, HeapCounters,
    HeapStats, Stats, rt_class_stats_names, rt_heap_counters_names, rt_heap_stats_names, rt_stats_names,
)
from rtmalloc.core.base._options cimport RT_OPTION_COUNT, RT_OPTION_python, RT_OPTION_stats_at_exit, RT_PRESET_COUNT
from rtmalloc.core.base.attributes cimport RT_STATIC_ASSERT, constructor_void, destructor_void
from rtmalloc.core.base.config cimport RT_CHECK, RT_SLICE_BYTES
from rtmalloc.core.base.size_class cimport RT_MAX_SMALL
from rtmalloc.core.base.table_file cimport RT_TABLE_WORDS, table_problem
from rtmalloc.core.base.options cimport rt_option_presets, rt_option_specs
from rtmalloc.core.calls.aligned cimport *
from rtmalloc.core.calls.api cimport api_table, rt_api, rt_api_own, rt_api_preloaded, rt_file_of
from rtmalloc.core.calls.block cimport *
from rtmalloc.core.calls.calloc cimport *
from rtmalloc.core.calls.check cimport check_shared
from rtmalloc.core.calls.fork cimport fork_register  # no-cython-lint: tls.h calls it
from rtmalloc.core.calls.front cimport *
from rtmalloc.core.calls.heap_dump cimport heap_dump, heap_dump_open, heap_dump_wanted  # no-cython-lint: background.h calls it
from rtmalloc.core.calls.hooks cimport (
    DOMAIN_RAW, DOMAINS_ALL, RT_DOMAINS, hooks_set, rt_python_allocator, rt_python_exchange, rt_python_get,
    rt_python_is_free_threaded, rt_python_is_up,
)
from rtmalloc.core.calls.marks cimport *
from rtmalloc.core.calls.realloc cimport *
from rtmalloc.core.calls.stats cimport stats_print
from rtmalloc.core.calls.trim cimport *
from rtmalloc.core.giveback.background cimport background_refuse  # no-cython-lint: alone.h calls it
from rtmalloc.core.giveback.batch cimport batch_end  # no-cython-lint: alone.h calls it
from rtmalloc.core.heaps.instance cimport allocator, allocator_open
from rtmalloc.core.calls.thread_end cimport thread_exit  # no-cython-lint: tls.h calls it
from rtmalloc.core.pages.tag cimport BIN_BYTES
from rtmalloc.core.profile.profile_file cimport profile_write
from rtmalloc.core.types cimport CLASSES_MOST, Bin, Heap, Shelf, Span

cdef extern from "base/cgroup.h" nogil:
    uint64_t rt_cgroup_limit() noexcept
    const uint64_t RT_CGROUP_NONE

cdef extern from "calls/exports.h":
    pass

cdef extern from "calls/children.h" nogil:
    void rt_environment_set(char** envp) noexcept
    void rt_environment_leave(const char* own) noexcept

cdef extern from "calls/fork.h" nogil:
    bint rt_is_preload

cdef extern from "calls/switch.h" nogil:
    bint rt_switch_is_off() noexcept
    const char* rt_switch_sanitizer() noexcept
    void rt_switch_obey(char** argv, const char* whom) noexcept

cdef extern from "Python.h":
    void* PyMem_RawMalloc(size_t bytes) noexcept nogil
    void PyMem_RawFree(void* p) noexcept nogil
    void* PyMem_Malloc(size_t bytes) noexcept
    void PyMem_Free(void* p) noexcept
    void* PyObject_Malloc(size_t bytes) noexcept
    void PyObject_Free(void* p) noexcept
    PyObject* PyObject_CallNoArgs(PyObject* callable) noexcept
    void PyErr_WriteUnraisable(PyObject* where) noexcept
    void Py_XDECREF(PyObject* o) noexcept


# ---- what happens when the library is loaded and when the process ends

cdef bint library_serves() noexcept nogil:
    # Whether this is the library that serves the process: an extension beside a preloaded one is not.
    cdef const rt_api* preloaded = rt_api_preloaded()
    return preloaded == NULL or preloaded == &rt_api_own


cdef constructor_void library_load(int argc, char** argv, char** envp) noexcept nogil:
    # Make the allocator ready, so that no later call has to. In a process that is going to be a Python interpreter, take
    # its three domains before it starts: then no block is anybody else's. (The extension is loaded by a running one.)
    RT_STATIC_ASSERT(sizeof(Bin) == BIN_BYTES)
    RT_STATIC_ASSERT(sizeof(Span) == 128)
    RT_STATIC_ASSERT(sizeof(Shelf) == 64)
    RT_STATIC_ASSERT(<size_t>&(<Heap*>NULL).beat == RT_PERCPU_BEAT)
    RT_STATIC_ASSERT(<size_t>&(<Bin*>NULL).limit == RT_PERCPU_LIMIT)
    # (The arguments are glibc's extension; this constructor is the first of all, before libc's own sets `environ`.)
    rt_environment_set(envp)
    if rt_is_preload and rt_switch_sanitizer() != NULL:
        # Before anything else: the first allocation would wake it.
        rt_switch_obey(argv, rt_switch_sanitizer())
    if rt_is_preload and not rt_python_is_up():
        if rt_switch_is_off():
            rt_switch_obey(argv, NULL)
        rt_environment_leave(rt_file_of(&rt_api_own))
    if allocator_open() and library_serves():
        heap_dump_open(allocator())
    if (
        rt_is_preload and allocator_open() and not rt_python_is_up() and allocator().options.value[RT_OPTION_python]
        and not rt_switch_is_off()
    ):
        hooks_set(1 << DOMAIN_RAW if rt_python_is_free_threaded() else DOMAINS_ALL)


cdef destructor_void library_unload() noexcept nogil:
    # Nothing is torn down: frees arrive until the very end.
    if allocator().ready:
        if RT_CHECK:
            check_shared(allocator())
        if allocator().options.value[RT_OPTION_stats_at_exit]:
            stats_print(allocator())
        profile_write(allocator())
        if library_serves():
            heap_dump(allocator())


# ---- the Python face: thin, and typed in _core.pyi

CACHES = ("thread", "cpu", "thread (no rseq)")  # by CACHES_* of core/percpu.pxd


cdef const rt_api* api() noexcept nogil:
    # The allocator that serves this process: a preloaded one if there is one, else this module's own.
    cdef const rt_api* preloaded = rt_api_preloaded()
    return preloaded if preloaded != NULL else api_table()


def is_preloaded():
    """Whether the preload library serves this process."""
    return rt_api_preloaded() != NULL


def location():
    """Path of the file whose allocator serves this process: the preload library's, or this extension's."""
    return api().location().decode()


def caches_now():
    """Whose the caches are: ``"thread"``, ``"cpu"``, or ``"thread (no rseq)"`` in a per-CPU library without its means."""
    return CACHES[api().caches()]


def hooks_install(domains):
    """Hook the Python domains of the bit set ``domains`` (1 RAW, 2 MEM, 4 OBJ); whether that could be done."""
    return bool(api().hooks_set(domains))


def hooks_active_now():
    """The domains, as a bit set, whose calls arrive at rtmalloc at this moment."""
    return api().hooks_active()


def hooks_pause_all(paused):
    """Send new requests of hooked domains to the previous allocators (True) or take them again; whether it could be done."""
    return bool(api().hooks_pause(1 if paused else 0))


def is_free_threaded():
    """Whether this interpreter is a free-threaded build."""
    return bool(rt_python_is_free_threaded())


cdef uint32_t is_ours(const void* p) noexcept nogil:
    return p != NULL and api().owns(p) != 0


def owns(address):
    """Whether the address, a number, lies in a block of the allocator that serves this process."""
    return bool(is_ours(<const void*><size_t>address))


def domains_arriving(bytes):
    """The domains, as a bit set, whose requests of ``bytes`` arrive at rtmalloc: found out by making one in each."""
    cdef size_t size = bytes
    cdef void* raw = PyMem_RawMalloc(size)
    cdef void* mem = PyMem_Malloc(size)
    cdef void* obj = PyObject_Malloc(size)
    cdef uint32_t bits = is_ours(raw) | is_ours(mem) << 1 | is_ours(obj) << 2
    PyMem_RawFree(raw)
    PyMem_Free(mem)
    PyObject_Free(obj)
    return bits


def domain_allocators():
    """CPython's file, and per domain the file of the functions that serve it now and whether they have a context.

    CPython's own allocators have none; its debug hooks and tracemalloc do, and anybody else's lie in another file.
    """
    cdef rt_python_exchange get = rt_python_get()
    cdef rt_python_allocator now
    cdef int d
    if get == NULL:
        return "", []
    found = []
    for d in range(RT_DOMAINS):
        get(d, &now)
        found.append((rt_file_of(<const void*>now.malloc).decode(errors="replace"), now.ctx != NULL))
    return rt_file_of(<const void*>get).decode(errors="replace"), found


def table_address():
    """Address of the table of calls (``struct rt_api``, core/api.h) of the allocator that serves this process."""
    return <size_t>api()


def trim():
    """Give unused memory back to the kernel now; whether there was any."""
    cdef const rt_api* a = api()
    cdef int gave
    with nogil:
        gave = a.trim()
    return bool(gave)


def flush_everything():
    """Flush everything across all threads; whether memory went back to the kernel now."""
    cdef const rt_api* a = api()
    cdef int gave
    with nogil:
        gave = a.emergency_flush()
    return bool(gave)


def pressure_alarm():
    """The same, for who has heard of pressure; whether it was done: not again within half a second."""
    cdef const rt_api* a = api()
    cdef int done
    with nogil:
        done = a.pressure_alarm()
    return bool(done)


def cgroup_limit():
    """Bytes that the process's control groups allow; 0 without a limit."""
    cdef uint64_t limit = rt_cgroup_limit()
    return 0 if limit >= RT_CGROUP_NONE else limit


def pressure_watched():
    """The sources of pressure, as a bit set (``PRESSURE_NAMES``), that the allocator's background thread watches now."""
    return api().pressure_watched()


def call_reporting(function):
    """Call ``function()``; what it raises goes to ``sys.unraisablehook``."""
    cdef PyObject* result = PyObject_CallNoArgs(<PyObject*>function)
    if result == NULL:
        PyErr_WriteUnraisable(<PyObject*>function)
    Py_XDECREF(result)


include "_pressure.pxi"


cdef dict numbers_named(const char* const* names, const void* numbers, int count):
    # A struct of the statistics, which has 64-bit numbers alone, by the names of its fields.
    cdef const uint64_t* values = <const uint64_t*>numbers
    cdef int i
    return {names[i].decode(): values[i] for i in range(count)}


def stats_raw():
    """The numbers of the allocator by name, those of all heaps summed, and a list of dictionaries per class in use."""
    cdef Stats st
    cdef HeapCounters counters
    cdef ClassStats classes[CLASSES_MOST]
    cdef const rt_api* a = api()
    cdef int i
    memset(&st, 0, sizeof(st))
    memset(&counters, 0, sizeof(counters))
    memset(classes, 0, sizeof(classes))
    with nogil:
        a.stats(&st, &counters, classes)
    return (
        numbers_named(rt_stats_names, &st, RT_STATS_COUNT),
        numbers_named(rt_heap_counters_names, &counters, RT_HEAP_COUNTERS_COUNT),
        [
            numbers_named(rt_class_stats_names, &classes[i], RT_CLASS_STATS_COUNT)
            for i in range(1, CLASSES_MOST)
            if classes[i].spans
        ],
    )


def size_classes():
    """Block sizes of the small classes of this process, in bytes, and the file they were read from ("" = built in)."""
    cdef uint32_t i
    sizes = [api().class_size(i) for i in range(1, CLASSES_MOST) if api().class_size(i)]
    return sizes, api().table_name().decode(errors="replace")


def largest_small():
    """Bytes of the largest small class that this build has room for."""
    return RT_MAX_SMALL


def slice_bytes():
    """Bytes of a slice of this build."""
    return RT_SLICE_BYTES


def size_table_problem(bytes data):
    """Why the allocator cannot use ``data``, the content of a compiled table; None when it can."""
    cdef uint32_t words[RT_TABLE_WORDS + 1]
    cdef size_t length = min(len(data), sizeof(words))
    memcpy(words, <const char*>data, length)
    cdef const char* problem = table_problem(words, <int64_t>length)
    return None if problem == NULL else (<bytes>problem).decode()


include "_profile.pxi"


def heaps_raw():
    """Per heap, the oldest first, its numbers and its counters by name."""
    cdef const rt_api* a = api()
    cdef uint32_t most = a.heaps(NULL, NULL, 0)
    cdef HeapStats* of = <HeapStats*>a.calloc(most + 1, sizeof(HeapStats))
    cdef HeapCounters* counters = <HeapCounters*>a.calloc(most + 1, sizeof(HeapCounters))
    cdef uint32_t count, i
    try:
        if of == NULL or counters == NULL:
            raise MemoryError
        with nogil:
            # A heap more may have come since.
            count = a.heaps(of, counters, most)
        return [
            (
                numbers_named(rt_heap_stats_names, &of[i], RT_HEAP_STATS_COUNT),
                numbers_named(rt_heap_counters_names, &counters[i], RT_HEAP_COUNTERS_COUNT),
            )
            for i in range(count if count < most else most)
        ][::-1]
    finally:
        a.free(of)
        a.free(counters)


def option_table():
    """All options as (name, value now, default, least, most, unit, description)."""
    cdef int i
    return [
        (
            rt_option_specs[i].name.decode(),
            api().option_get(i),
            rt_option_specs[i].preset,
            rt_option_specs[i].least,
            rt_option_specs[i].most,
            rt_option_specs[i].unit.decode(),
            rt_option_specs[i].text.decode(),
        )
        for i in range(RT_OPTION_COUNT)
    ]


def option_presets():
    """The named sets of options: for each name the text that RTMALLOC_OPTIONS would hold instead."""
    cdef int i
    return {rt_option_presets[i].name.decode(): rt_option_presets[i].text.decode() for i in range(RT_PRESET_COUNT)}


def option_set_number(number, value):
    """Set option ``number`` (its place in :func:`option_table`); False when the value is out of range."""
    return api().option_set(number, value) == 0
