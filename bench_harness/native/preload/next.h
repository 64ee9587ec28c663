/* The allocator behind a library that is preloaded in front of it: its functions, looked up at the first call.
 *
 * The loader calls malloc before any constructor runs, so there is no better moment than the first call; and dlsym
 * itself may allocate, which is served from a small region meanwhile. Blocks of that region are never given back. */
#ifndef BENCH_HARNESS_NEXT_H
#define BENCH_HARNESS_NEXT_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EARLY ((size_t)1 << 16)     /* bytes of the region; a look-up takes some hundred at most */
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

typedef struct {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    size_t (*malloc_usable_size)(void *);
} Next;

static Next next;
static int next_is_ready, next_is_sought;
static char early[EARLY] __attribute__((aligned(16)));
static size_t early_used;

static void *early_take(size_t n) {
    size_t at = __atomic_fetch_add(&early_used, ((n + 15) & ~(size_t)15) + 16, __ATOMIC_RELAXED);
    if (n > EARLY || at + n + 16 > EARLY) return 0;
    memcpy(early + at, &n, sizeof n);
    return early + at + 16;
}

static inline int early_has(const void *p) { return (const char *)p >= early && (const char *)p < early + EARLY; }

/* realloc of an early block: it moves to the allocator behind, or stays where that is not found yet. */
static void *early_move(void *p, size_t n) {
    size_t old;
    void *q = next_is_ready ? next.malloc(n) : early_take(n);
    memcpy(&old, (char *)p - 16, sizeof old);
    return q ? memcpy(q, p, old < n ? old : n) : 0;
}

/* False while the functions are being looked up, by this call or an outer one. */
static __attribute__((noinline)) int next_seek(void) {
    Next found;
    if (__atomic_exchange_n(&next_is_sought, 1, __ATOMIC_ACQ_REL))
        return __atomic_load_n(&next_is_ready, __ATOMIC_ACQUIRE);
    *(void **)&found.malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&found.free = dlsym(RTLD_NEXT, "free");
    *(void **)&found.calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&found.realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&found.memalign = dlsym(RTLD_NEXT, "memalign");
    *(void **)&found.posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **)&found.aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    *(void **)&found.malloc_usable_size = dlsym(RTLD_NEXT, "malloc_usable_size");
    next = found;
    __atomic_store_n(&next_is_ready, 1, __ATOMIC_RELEASE);
    return 1;
}

static inline int next_ready(void) {
    return __builtin_expect(__atomic_load_n(&next_is_ready, __ATOMIC_ACQUIRE), 1) || next_seek();
}
#endif
