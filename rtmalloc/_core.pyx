# cython: freethreading_compatible=True, subinterpreters_compatible=own_gil
"""The allocator core, as one translation unit, and its Python face.

The layers are ``.pxd`` modules under ``rtmalloc/core``; each cimports only from those above it in this list:

    atomics, attributes, platform, bitmap       words, the compiler and the operating system
    lock, complain, options, size_class         small tools
    segment, page_heap                          runs of slices: free, dirty, clean
    span, span_queue                            a run cut into objects, whose free ones are bits
    arena, pagemap                              the reserved range; who owns an address
    transfer_cache, central, store              what threads share
    mailbox, remote                             objects that come home to another thread's span
    heap                                        a thread's bins and spans
    scavenge, purge, radix, large               giving back; blocks above the small classes
    thread, entry, fork, stats                  threads, the calls, fork, numbers
"""

from libc.stdint cimport uint64_t

from rtmalloc.core.attributes cimport RT_STATIC_ASSERT, constructor_void, destructor_void
from rtmalloc.core.entry cimport *
from rtmalloc.core.fork cimport fork_register
from rtmalloc.core.heap cimport BINS_OFFSET, Bin, Heap
from rtmalloc.core.span cimport Span
from rtmalloc.core.stats cimport Stats, stats_gather, stats_print
from rtmalloc.core.thread cimport allocator, allocator_open, thread_heap
from rtmalloc.core.options cimport RT_OPTION_stats_at_exit
from rtmalloc.core.pagemap cimport BIN_BYTES

cdef extern from "exports.h":
    pass


cdef constructor_void library_load() noexcept nogil:
    # When the library is loaded: make it ready, so that no later call has to.
    RT_STATIC_ASSERT(sizeof(Bin) == BIN_BYTES)
    RT_STATIC_ASSERT(sizeof(Span) == 128)
    allocator().on_open = fork_register
    allocator_open()


cdef destructor_void library_unload() noexcept nogil:
    # At exit. Nothing is torn down: frees arrive until the very end.
    if allocator().ready and allocator().store.options.value[RT_OPTION_stats_at_exit]:
        stats_print(allocator())
