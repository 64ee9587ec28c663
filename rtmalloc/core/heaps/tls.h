/* The few statics: the thread's heap pointer, two heaps that are always empty, and the allocator itself.
 *
 * A new thread's pointer leads to rt_heap_empty, whose bins are empty and whose tag base matches no tag: malloc and free
 * need no test for it, they miss into their slow paths. A thread that has passed its exit points to rt_heap_late, which
 * looks the same but tells the slow paths not to open a heap again.
 *
 * They are bytes here because their types are Cython's; tls.pxd checks that they are large enough. */
#ifndef RT_TLS_H
#define RT_TLS_H
#include <pthread.h>
#include <stdint.h>
#include "base/attributes.h"
#include "base/config.h"
enum { RT_HEAP_BYTES = 16384, RT_ALLOCATOR_BYTES = 16384 };
#define RT_NO_TAG_BASE 0x80000000u /* heap id 2**20: above every tag */

typedef union {
    uint32_t tag_base;
    char bytes[RT_HEAP_BYTES];
} rt_heap_storage __attribute__((aligned(128)));

static rt_heap_storage rt_heap_empty = {RT_NO_TAG_BASE};
static rt_heap_storage rt_heap_late = {RT_NO_TAG_BASE};
static char rt_allocator_storage[RT_ALLOCATOR_BYTES] __attribute__((aligned(128)));
static __thread void *rt_tls_heap __attribute__((tls_model("initial-exec"))) = &rt_heap_empty;

/* Defined in fork.pxd, above the layer that opens the allocator: whoever opens it first, even a malloc before our own
 * constructor (libstdc++ does that), must register the fork handlers. */
static void rt_fork_register(void);

static inline void *rt_tls_get(void) { return rt_tls_heap; }

/* The state that the fast paths ask for with RT_STATE_TEST; without it there is none. */
enum { RT_THREAD_NEW, RT_THREAD_ACTIVE, RT_THREAD_ENDED };
#if RT_STATE_TEST
static __thread int rt_tls_state __attribute__((tls_model("initial-exec"))) = RT_THREAD_NEW;
static inline int rt_tls_is_active(void) { return rt_tls_state == RT_THREAD_ACTIVE; }
#else
static inline int rt_tls_is_active(void) { return 1; }
#endif
static inline void rt_tls_set(void *heap) {
    rt_tls_heap = heap;
#if RT_STATE_TEST
    rt_tls_state = heap == &rt_heap_late ? RT_THREAD_ENDED : RT_THREAD_ACTIVE;
#endif
}

/* pthread keys run their destructors when a thread ends. */
typedef void (*rt_destructor)(void *);
static pthread_key_t rt_exit_key;
static inline int rt_exit_key_open(rt_destructor f) { return pthread_key_create(&rt_exit_key, f); }
static inline int rt_exit_key_set(void *value) { return pthread_setspecific(rt_exit_key, value); }
#endif
