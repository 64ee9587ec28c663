# cython: freethreading_compatible=True, subinterpreters_compatible=own_gil
"""numpy's data allocator (NEP 49) on rtmalloc: the handler, and setting it. rtmalloc/numpy.py is its Python face.

Built without numpy's headers, so that rtmalloc needs no numpy to be built and one build serves every numpy from 1.22 on:
the struct of the handler, the name of its capsule and the places of the two functions in numpy's table of functions are
what NEP 49 and numpy's binary interface have fixed since 1.22.
"""

from libc.stdint cimport uint8_t
from libc.string cimport strcpy

from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF

from rtmalloc import _core

cdef extern from "calls/api.h" nogil:
    ctypedef struct rt_api:
        void* (*malloc)(size_t) noexcept nogil
        void* (*calloc)(size_t, size_t) noexcept nogil
        void* (*realloc)(void*, size_t) noexcept nogil
        void (*free)(void*) noexcept nogil

cdef extern from *:
    """
    /* NEP 49, version 1; numpy/ndarraytypes.h */
    typedef struct {
        void *ctx;
        void *(*malloc)(void *ctx, size_t size);
        void *(*calloc)(void *ctx, size_t nelem, size_t elsize);
        void *(*realloc)(void *ctx, void *ptr, size_t new_size);
        void (*free)(void *ctx, void *ptr, size_t size);
    } rt_numpy_allocator;
    typedef struct {
        char name[127];
        uint8_t version;
        rt_numpy_allocator allocator;
    } rt_numpy_handler;

    /* Of the process and never taken away: arrays outlive whoever made them. C statics, because a Cython global would
     * belong to one interpreter. */
    static rt_numpy_handler rt_handler;
    static const rt_api *rt_table;
    """
    ctypedef struct rt_numpy_allocator:
        void* ctx
        void* (*malloc)(void* ctx, size_t size) noexcept nogil
        void* (*calloc)(void* ctx, size_t count, size_t size) noexcept nogil
        void* (*realloc)(void* ctx, void* p, size_t size) noexcept nogil
        void (*free)(void* ctx, void* p, size_t size) noexcept nogil
    ctypedef struct rt_numpy_handler:
        char* name
        uint8_t version
        rt_numpy_allocator allocator
    rt_numpy_handler rt_handler
    const rt_api* rt_table

cdef enum:
    SET_HANDLER = 304          # places in numpy's _ARRAY_API (numpy/_core/code_generators/numpy_api.py)
    HANDLER_VERSION = 1

ctypedef PyObject* (*SetHandler)(PyObject*) except NULL


cdef void* handler_malloc(void* ctx, size_t size) noexcept nogil:
    return rt_table.malloc(size)


cdef void* handler_calloc(void* ctx, size_t count, size_t size) noexcept nogil:
    return rt_table.calloc(count, size)


cdef void* handler_realloc(void* ctx, void* p, size_t size) noexcept nogil:
    return rt_table.malloc(size) if p == NULL else rt_table.realloc(p, size)


cdef void handler_free(void* ctx, void* p, size_t size) noexcept nogil:
    # The size is a hint that numpy's own tests say is wrong in places.
    rt_table.free(p)


def handler_capsule():
    """The handler, as the capsule that numpy takes."""
    global rt_table
    if rt_table == NULL:
        strcpy(rt_handler.name, b"rtmalloc")
        rt_handler.version = HANDLER_VERSION
        rt_handler.allocator.malloc = handler_malloc
        rt_handler.allocator.calloc = handler_calloc
        rt_handler.allocator.realloc = handler_realloc
        rt_handler.allocator.free = handler_free
        rt_table = <const rt_api*><size_t>_core.table_address()
    return PyCapsule_New(&rt_handler, b"mem_handler", NULL)


def handler_set(array_api, capsule):
    """Make ``capsule`` the handler of this context, by numpy's table ``_ARRAY_API``; the capsule that was it before."""
    cdef void** table = <void**>PyCapsule_GetPointer(array_api, NULL)
    cdef PyObject* before = (<SetHandler>table[SET_HANDLER])(<PyObject*>capsule)
    found = <object>before     # takes a reference of its own beside the one that numpy gave
    Py_DECREF(found)
    return found
