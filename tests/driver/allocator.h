/* The calls under test, under either of two sets of names.
 *
 * By default the plain ones: the driver is an ordinary program that gets the allocator by LD_PRELOAD. With
 * RT_DRIVER_PREFIXED they are rtx_malloc, rtx_free, ... of an allocator that is linked in, so that a sanitizer keeps
 * its own malloc. The names without a place in glibc (cfree, free_sized, ...) are looked up at run time. */
#ifndef DRIVER_ALLOCATOR_H
#define DRIVER_ALLOCATOR_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef RT_DRIVER_PREFIXED
#define A(name) rtx_##name
extern void *rtx_malloc(size_t), *rtx_calloc(size_t, size_t), *rtx_realloc(void *, size_t);
extern void *rtx_reallocarray(void *, size_t, size_t), *rtx_aligned_alloc(size_t, size_t), *rtx_memalign(size_t, size_t);
extern void *rtx_valloc(size_t), *rtx_pvalloc(size_t);
extern int rtx_posix_memalign(void **, size_t, size_t), rtx_malloc_trim(size_t);
extern size_t rtx_malloc_usable_size(void *);
extern void rtx_free(void *), rtx_cfree(void *), rtx_free_sized(void *, size_t);
extern void rtx_free_aligned_sized(void *, size_t, size_t);
static inline void a_cfree(void *p) { rtx_cfree(p); }
static inline void a_free_sized(void *p, size_t n) { rtx_free_sized(p, n); }
static inline void a_free_aligned_sized(void *p, size_t a, size_t n) { rtx_free_aligned_sized(p, a, n); }
#else
#define A(name) name
#ifndef __GLIBC__
extern void *pvalloc(size_t); /* musl has none, the library has */
#endif
extern void *a_symbol(const char *name); /* support.c: the call of that name; ends the program when there is none */
static inline void a_cfree(void *p) { ((void (*)(void *))a_symbol("cfree"))(p); }
static inline void a_free_sized(void *p, size_t n) { ((void (*)(void *, size_t))a_symbol("free_sized"))(p, n); }
static inline void a_free_aligned_sized(void *p, size_t a, size_t n) {
    ((void (*)(void *, size_t, size_t))a_symbol("free_aligned_sized"))(p, a, n);
}
#endif
#endif
