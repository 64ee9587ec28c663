# Return types that carry function attributes (attributes.h).
# cold_* and slow_* stay out of line, so that fast paths need no stack frame; fast_* start on a cache line; inlined_*
# are parts of several fast paths.

cdef extern from "base/attributes.h" nogil:
    ctypedef void cold_void "RT_COLD_VOID"
    ctypedef void* cold_pointer "RT_COLD_POINTER"
    ctypedef int cold_int "RT_COLD_INT"
    ctypedef void slow_void "RT_SLOW_VOID"
    ctypedef void* slow_pointer "RT_SLOW_POINTER"
    ctypedef int slow_int "RT_SLOW_INT"
    ctypedef void fast_void "RT_FAST_VOID"
    ctypedef void* fast_pointer "RT_FAST_POINTER"
    ctypedef void inlined_void "RT_INLINE_VOID"
    ctypedef void* inlined_pointer "RT_INLINE_POINTER"
    ctypedef void constructor_void "RT_CONSTRUCTOR_VOID"
    ctypedef void destructor_void "RT_DESTRUCTOR_VOID"
    void RT_STATIC_ASSERT(bint condition) noexcept
