/* What hooks.pxd needs of CPython, looked up at run time: the preload library depends on no Python.
 * The struct is CPython's PyMemAllocatorEx, unchanged since 3.5. */
#ifndef RT_HOOKS_H
#define RT_HOOKS_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t count, size_t size);
    void *(*realloc)(void *ctx, void *p, size_t size);
    void (*free)(void *ctx, void *p);
} rt_python_allocator;

enum { RT_DOMAINS = 3 }; /* PYMEM_DOMAIN_RAW, _MEM, _OBJ */

typedef void (*rt_python_exchange)(int domain, rt_python_allocator *allocator);
typedef int (*rt_python_question)(void);

static rt_python_allocator rt_previous[RT_DOMAINS]; /* written once, before the hook of the domain is set */
static uint32_t rt_hooked;                          /* bit d: domain d is ours */
static uint32_t rt_paused;                          /* 1: new requests go to rt_previous (disable()) */
static uint64_t rt_hook_small;                      /* requests up to here are served at once: RT_MAX_SMALL, or 0 while paused */

static inline rt_python_exchange rt_python_get(void) {
    return (rt_python_exchange)dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
}
static inline rt_python_exchange rt_python_set(void) {
    return (rt_python_exchange)dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
}
/* Whether the interpreter of this process has been initialised; 0 as well when there is none. */
static inline int rt_python_is_up(void) {
    rt_python_question up = (rt_python_question)dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    return up ? up() : 0;
}
/* Free-threaded builds export this; there only the RAW domain may be replaced (PEP 703, "Memory Management"). */
static inline int rt_python_is_free_threaded(void) { return dlsym(RTLD_DEFAULT, "_Py_DecRefShared") != NULL; }
#endif
