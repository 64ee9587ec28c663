/* The first calls of a process: glibc fills thread-local storage only after all libraries have been relocated.
 * Until then the resolvers of indirect functions run, and they may call malloc. The thread's heap pointer is still NULL,
 * which no fast path asks about. So this library has an indirect function of its own. Libraries are relocated before those
 * that stand in front of them and before the program, so its resolver is the first: it makes the thread one that has no heap
 * (rt_heap_late), whose calls take one object at a time. glibc then writes what thread-local storage begins with, and the
 * thread is new. A library behind this one calls code that is not relocated: that cannot be helped. */
#ifndef RT_EARLY_H
#define RT_EARLY_H
#include <stddef.h>
#include "heaps/tls.h"

#if defined __GLIBC__ && !defined RT_EXPORT_PREFIXED
/* Where glibc had not done so, the thread is made a new one here. */
static void rt_early_over(void) {
    if (rt_tls_heap == (void *)&rt_heap_late) rt_tls_heap = &rt_heap_empty;
}
static void (*rt_early_resolve(void))(void) {
    if (rt_tls_heap == NULL) rt_tls_heap = &rt_heap_late;
    return rt_early_over;
}
static void rt_early_end(void) __attribute__((ifunc("rt_early_resolve")));
#else
static inline void rt_early_end(void) {}
#endif
#endif
