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

/* The allocator by the names that the process sees. These are slots in this library's own table of addresses, so that a
 * profiler which stands in front of us, or rewrites such tables, is called. (In the extension the names are our own.) */
extern void *rt_seen_malloc(size_t) __asm__("malloc");
extern void *rt_seen_calloc(size_t, size_t) __asm__("calloc");
extern void *rt_seen_realloc(void *, size_t) __asm__("realloc");
extern void rt_seen_free(void *) __asm__("free");
static uint32_t rt_passing; /* 1: the hooks call by these names */
static inline int rt_malloc_is_seen(void *(*own)(size_t)) {
    void *(*volatile seen)(size_t) = rt_seen_malloc;
    return seen == own;
}
/* Whether an address lies in this library's file as it is mapped. Nobody writes there but who rewrites the table. */
extern const char rt_image_begin[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
extern const char rt_image_end[] __asm__("_end") __attribute__((visibility("hidden")));
static inline int rt_is_image(const void *p) { return (const char *)p >= rt_image_begin && (const char *)p < rt_image_end; }

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
