/* The few statics: the thread's heap pointer, two heaps that are always empty, the allocator itself.
 *
 * A new thread's pointer leads to rt_heap_empty, whose bins are empty and whose tag base matches no tag: malloc and free
 * need no test for it, they miss into their slow paths. A thread that has passed its exit points to rt_heap_late, which
 * looks the same but tells the slow paths not to open a heap again.
 *
 * Their types are Cython's: here they are what the fast paths read of a Heap, and bytes. instance.pxd checks the sizes. */
#ifndef RT_TLS_H
#define RT_TLS_H
#include "../base/attributes.h"
#include "../base/config.h"
#include <pthread.h>
#include <stdint.h>
enum { RT_ALLOCATOR_BYTES = 8192, RT_BINS_OFFSET = 64, RT_BIN_COUNT = 128 };
#define RT_NO_TAG_BASE 0x80000000u /* above every tag */

/* The bottom of every bin that has no block. */
static void *rt_no_cells[1];

typedef struct {
    uint32_t tag_base;
    char padding[RT_BINS_OFFSET - sizeof(uint32_t)];
    void **bins[RT_BIN_COUNT][2]; /* top and limit */
} rt_heap_front __attribute__((aligned(64)));

#define RT_FRONT_EMPTY {RT_NO_TAG_BASE, {0}, {[0 ... RT_BIN_COUNT - 1] = {rt_no_cells, rt_no_cells}}}
static rt_heap_front rt_heap_empty = RT_FRONT_EMPTY;
static rt_heap_front rt_heap_late = RT_FRONT_EMPTY;
static char rt_allocator_storage[RT_ALLOCATOR_BYTES] __attribute__((aligned(128)));
static __thread void *rt_tls_heap __attribute__((tls_model("initial-exec"))) = &rt_heap_empty;

/* Defined in calls/fork.pxd, above the layer that opens the allocator: whatever opens it first, even a malloc before our
 * own constructor (libstdc++ does that), must register the fork handlers. */
static void rt_fork_register(void);
/* Defined in calls/thread_end.pxd: a thread ends, and perhaps the background thread with it. */
static void rt_thread_exit(void *heap);

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

/* pthread keys run their destructors when a thread ends. The key is made when the first heap wants it, holding nothing: whoever
 * stands before pthread_key_create may allocate. */
static uint32_t rt_exit_key; /* 1 + the key, 0 = none yet */
static inline int rt_exit_key_set(void *value) {
    uint32_t known = __atomic_load_n(&rt_exit_key, __ATOMIC_ACQUIRE);
    pthread_key_t key;
    if (!known) {
        if (pthread_key_create(&key, rt_thread_exit)) return -1;
        if (__atomic_compare_exchange_n(&rt_exit_key, &known, key + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            known = key + 1;
        else
            pthread_key_delete(key);
    }
    return pthread_setspecific(known - 1, value);
}
#endif
