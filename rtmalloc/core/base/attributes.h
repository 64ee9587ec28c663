/* Attributes that Cython cannot write.
 * A function gets its attributes through its return type: the ctypedefs of attributes.pxd name these macros, so that
 * `cdef cold_pointer f()` is emitted as `static COLD void *f()`. */
#ifndef RT_ATTRIBUTES_H
#define RT_ATTRIBUTES_H
#include <stddef.h>
#include <stdint.h>
#define RT_COLD __attribute__((noinline, cold))
#define RT_SLOW __attribute__((noinline))
#define RT_INLINE __attribute__((always_inline))
#define RT_FAST __attribute__((hot, aligned(64)))
#define RT_COLD_VOID RT_COLD void
#define RT_COLD_POINTER RT_COLD rt_ptr_t
#define RT_COLD_INT RT_COLD int
#define RT_SLOW_VOID RT_SLOW void
#define RT_SLOW_POINTER RT_SLOW rt_ptr_t
#define RT_SLOW_INT RT_SLOW int
#define RT_INLINE_VOID RT_INLINE void
#define RT_INLINE_POINTER RT_INLINE rt_ptr_t
#define RT_FAST_VOID RT_FAST void
#define RT_FAST_POINTER RT_FAST rt_ptr_t
/* Runs when the library is loaded. */
#define RT_CONSTRUCTOR_VOID __attribute__((constructor, used)) void
/* Runs when the process exits. */
#define RT_DESTRUCTOR_VOID __attribute__((destructor, used)) void
typedef void *rt_ptr_t;
/* A statement that fails the compilation when it does not hold. */
#define RT_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif
