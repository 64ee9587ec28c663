/* Threads that come and go: orphaned objects, first and last calls, short threads, many threads. */
#include "modes.h"
#include <limits.h>
#include <string.h>

/* ---- orphans: each generation of threads leaves all its objects behind; the next frees and resizes them */

enum { ORPHANS = 2000, GROUP_MOST = 32 };
typedef struct { Random random; Block *left[ORPHANS]; size_t most; } Family;
static Family families[GROUP_MOST];

static void *orphans_make(void *argument) {
    Family *f = argument;
    int i;
    for (i = 0; i < ORPHANS; i++) f->left[i] = pair_new(&f->random, f->most);
    /* Leave holes, so that spans are neither full nor empty when they lose their owner. */
    for (i = 0; i < ORPHANS; i++)
        if (random_below(&f->random, 3) == 0) pair_free(f->left[i], &f->random), f->left[i] = NULL;
    return NULL;
}

static void *orphans_inherit(void *argument) {
    Family *f = argument;
    int i;
    for (i = 0; i < ORPHANS; i++) {
        Block *b = f->left[i];
        if (b == NULL) f->left[i] = pair_new(&f->random, f->most); /* adopts spans */
        else if (random_below(&f->random, 4) == 0) block_resize(b, &f->random, size_random(&f->random, f->most));
    }
    for (i = 0; i < ORPHANS; i++)
        if (f->left[i]) pair_free(f->left[i], &f->random), f->left[i] = NULL;
    return NULL;
}

void mode_orphans(const Run *run) {
    pthread_t ids[GROUP_MOST];
    long round;
    int i, n = run->threads;
    CHECK(n <= GROUP_MOST, "%d threads", n);
    for (round = 0; round < run->operations; round++) {
        for (i = 0; i < n; i++) {
            families[i].random.state = run->seed + (uint64_t)(round * n + i) * 77;
            families[i].most = round % 2 ? SIZE_SMALL : 8 * SIZE_CLASS;
            ids[i] = thread_start(orphans_make, &families[i]);
        }
        for (i = 0; i < n; i++) thread_join(ids[i]);
        for (i = 0; i < n; i++) ids[i] = thread_start(orphans_inherit, &families[(i + 1) % n]);
        for (i = 0; i < n; i++) thread_join(ids[i]);
    }
}

/* ---- first: what a fresh thread calls before anything else */

enum { FIRST_CALLS = 20 };
typedef struct { int call; Random random; Block block; } First;

static void *first_thread(void *argument) {
    First *f = argument;
    Block own;
    Random *r = &f->random;
    own.p = NULL;
    switch (f->call) {
    case 0: A(free)(NULL); break;
    case 1: block_free(&f->block, r); break;
    case 2: block_resize(&f->block, r, 100); break;
    case 3: block_resize(&f->block, r, 3 << 20); break;
    case 4: CHECK(A(malloc_usable_size)(f->block.p) >= f->block.size, "usable"); break;
    case 5: CHECK(A(malloc_usable_size)(NULL) == 0, "usable of NULL"); break;
    case 6: A(malloc_trim)(0); break;
    case 7: a_cfree(NULL); break;
    case 8: CHECK(A(realloc)(f->block.p, 0) == NULL, "realloc(p, 0)"); f->block.p = NULL; break;
    case 9: CHECK(A(malloc)(SIZE_MAX / 2 + 1) == NULL, "more than PTRDIFF_MAX"); break;
    case 10: block_new_by(&own, r, 1, 30000, 1); break; /* calloc, single object */
    default: block_new_by(&own, r, f->call % ENTRY_POINTS, f->call % 2 ? 40 : 300000, 4096); break;
    }
    if (own.p) block_free(&own, r);
    return NULL;
}

void mode_first(const Run *run) {
    Random r = {run->seed};
    long i;
    for (i = 0; i < run->operations; i++) {
        First f = {(int)(i % FIRST_CALLS), {run->seed + (uint64_t)i}, {0}};
        block_new(&f.block, &r, i % 3 ? SIZE_CLASS : SIZE_LARGE);
        thread_join(thread_start(first_thread, &f));
        if (f.block.p) block_free(&f.block, &r);
    }
}

/* ---- keys: destructors that use the allocator at every iteration, before and after the allocator's own one */

/* TSan ends its knowledge of a thread at the start of the last iteration. */
#ifdef __SANITIZE_THREAD__
enum { KEYS = 40, ITERATIONS = 3 };
#else
enum { KEYS = 40, ITERATIONS = 4 };
#endif
static pthread_key_t keys[KEYS];
static _Atomic long destructor_calls;

typedef struct { Random random; int iteration, key; Block *early; } Last;

static void last_destructor(void *value) {
    Last *l = value, *next;
    int i;
    atomic_fetch_add(&destructor_calls, 1);
    if (l->early) pair_free(l->early, &l->random); /* of the thread's own heap, which may be gone by now */
    l->early = NULL;
    for (i = 0; i < 20; i++) {
        Block *b = shared_swap(random_next(&l->random), pair_new(&l->random, i % 5 ? SIZE_SMALL : 2 * SIZE_CLASS));
        if (b) pair_free(b, &l->random);
    }
    if (++l->iteration < ITERATIONS) {
        next = A(malloc)(sizeof *next);
        CHECK(next != NULL, "iteration %d", l->iteration);
        *next = *l;
        next->early = pair_new(&l->random, SIZE_CLASS);
        CHECK(pthread_setspecific(keys[l->key], next) == 0, "setspecific");
    }
    A(free)(l);
}

static void *keys_thread(void *argument) {
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    int i;
    for (i = 0; i < KEYS; i++) {
        Last *l = A(calloc)(1, sizeof *l);
        CHECK(l != NULL, "key %d", i);
        l->random.state = seed * KEYS + (uint64_t)i;
        l->key = i;
        l->early = pair_new(&l->random, SIZE_CLASS);
        CHECK(pthread_setspecific(keys[i], l) == 0, "setspecific");
    }
    return NULL;
}

void mode_keys(const Run *run) {
    pthread_t ids[GROUP_MOST];
    Random r = {run->seed};
    long round;
    int i;
    CHECK(run->threads <= GROUP_MOST, "%d threads", run->threads);
    for (i = 0; i < KEYS; i++) CHECK(pthread_key_create(&keys[i], last_destructor) == 0, "key %d", i);
    for (round = 0; round < run->operations; round++) {
        for (i = 0; i < run->threads; i++)
            ids[i] = thread_start(keys_thread, (void *)(uintptr_t)(run->seed + (uint64_t)(round * run->threads + i)));
        for (i = 0; i < run->threads; i++) thread_join(ids[i]);
    }
    CHECK(atomic_load(&destructor_calls) == run->operations * run->threads * KEYS * ITERATIONS, "%ld destructor calls",
          atomic_load(&destructor_calls));
    shared_clear(&r);
}

/* ---- short: a relay of threads; each frees what it finds and leaves something else */

static void *short_thread(void *argument) {
    Random r = {(uint64_t)(uintptr_t)argument};
    int i, n = 1 + (int)random_below(&r, 24);
    for (i = 0; i < n; i++) {
        Block *b = shared_swap(random_next(&r), random_below(&r, 4) ? pair_new(&r, SIZE_SMALL) : NULL);
        if (b) pair_free(b, &r);
    }
    return NULL;
}

void mode_short(const Run *run) {
    pthread_t ids[GROUP_MOST];
    Random r = {run->seed};
    long i, early = run->operations / 10;
    size_t before = 0, after;
    int n = run->threads;
    CHECK(n <= GROUP_MOST, "%d threads", n);
    for (i = 0; i < run->operations; i++) {
        if (i >= n) thread_join(ids[i % n]);
        if (i == early) before = resident_bytes();
        ids[i % n] = thread_start(short_thread, (void *)(uintptr_t)(run->seed + (uint64_t)i));
    }
    for (i = 0; i < n && i < run->operations; i++) thread_join(ids[i]);
    after = resident_bytes();
    shared_clear(&r);
    printf("rss after %ld threads: %zu KiB, after %ld: %zu KiB\n", early, before >> 10, run->operations, after >> 10);
    /* What lives is the same at both times. A quarter and 2 MiB of difference is noise; a leak of 64 B per thread
     * would be 5.5 MiB over 90 000 threads. Sanitizers keep memory of their own per thread: no bound there. */
#ifndef RT_DRIVER_PREFIXED
    CHECK(after < before + before / 4 + (2 << 20), "RSS grows from %zu to %zu KiB over short threads", before >> 10,
          after >> 10);
#endif
}

/* ---- idle: very many threads at once, each with a burst behind it */

static pthread_barrier_t idle_barrier;

static void *idle_thread(void *argument) {
    Random r = {(uint64_t)(uintptr_t)argument};
    Block *kept[16];
    int i, round;
    for (round = 0; round < 16; round++) {
        for (i = 0; i < 16; i++) kept[i] = pair_new(&r, SIZE_CLASS);
        for (i = 0; i < 16; i++) pair_free(kept[i], &r);
    }
    for (i = 0; i < 16; i++) kept[i] = pair_new(&r, SIZE_SMALL);
    pthread_barrier_wait(&idle_barrier);
    for (i = 0; i < 16; i++) pair_free(kept[i], &r);
    return NULL;
}

void mode_idle(const Run *run) {
    static pthread_t ids[20000];
    pthread_attr_t attributes;
    int i;
    CHECK(run->threads <= 20000, "%d threads", run->threads);
    pthread_attr_init(&attributes);
    /* On aarch64 the least stack is larger than 64 KiB. */
    CHECK(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN > 65536 ? PTHREAD_STACK_MIN : 65536) == 0, "stack");
    CHECK(pthread_barrier_init(&idle_barrier, NULL, (unsigned)run->threads + 1) == 0, "barrier");
    for (i = 0; i < run->threads; i++) {
        int r = pthread_create(&ids[i], &attributes, idle_thread, (void *)(uintptr_t)(run->seed + (uint64_t)i));
        CHECK(r == 0, "thread %d: %d", i, r);
    }
    pthread_barrier_wait(&idle_barrier);
    for (i = 0; i < run->threads; i++) thread_join(ids[i]);
}
