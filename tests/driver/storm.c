/* Random work: the storm, realloc chains, all classes, producers and consumers. */
#include "modes.h"
#include <string.h>

static _Atomic(Block *) shared[SHARED_BLOCKS];

pthread_t thread_start(void *(*f)(void *), void *argument) {
    pthread_t t;
    int r = pthread_create(&t, NULL, f, argument);
    CHECK(r == 0, "pthread_create: %d", r);
    return t;
}

void thread_join(pthread_t t) {
    int r = pthread_join(t, NULL);
    CHECK(r == 0, "pthread_join: %d", r);
}

Block *pair_new(Random *r, size_t most) {
    Block *b = A(malloc)(sizeof(Block));
    CHECK(b != NULL, "no descriptor");
    block_new(b, r, most);
    return b;
}

void pair_free(Block *b, Random *r) {
    block_free(b, r);
    A(free)(b);
}

Block *shared_swap(uint64_t slot, Block *b) {
    return atomic_exchange_explicit(&shared[slot % SHARED_BLOCKS], b, memory_order_acq_rel);
}

long shared_clear(Random *r) {
    long count = 0;
    int i;
    for (i = 0; i < SHARED_BLOCKS; i++) {
        Block *b = shared_swap((uint64_t)i, NULL);
        if (b) pair_free(b, r), count++;
    }
    return count;
}

void storm_step(Storm *s) {
    Random *r = &s->random;
    uint64_t action = random_below(r, 16);
    Block **slot = &s->mine[random_below(r, STORM_BLOCKS)];
    if (*slot == NULL) {
        *slot = pair_new(r, s->most);
    } else if (action < 9) {
        pair_free(*slot, r);
        *slot = NULL;
    } else if (action < 11) {
        block_resize(*slot, r, size_random(r, s->most));
    } else if (action < 15) {
        *slot = shared_swap(random_next(r), *slot);
    } else {
        block_check(*slot, (*slot)->size, "at rest");
    }
}

void storm_end(Storm *s) {
    int i;
    for (i = 0; i < STORM_BLOCKS; i++)
        if (s->mine[i]) pair_free(s->mine[i], &s->random), s->mine[i] = NULL;
}

/* ---- churn */

enum { THREADS_MOST = 64 };
typedef struct { const Run *run; Storm storm; int number; } Worker;
static Worker workers[THREADS_MOST];

static void *churn_thread(void *argument) {
    Worker *w = argument;
    long i;
    for (i = 0; i < w->run->operations; i++) storm_step(&w->storm);
    storm_end(&w->storm);
    return NULL;
}

static void workers_run(const Run *run, void *(*f)(void *), size_t most) {
    pthread_t ids[THREADS_MOST];
    int i;
    CHECK(run->threads <= THREADS_MOST, "%d threads", run->threads);
    for (i = 0; i < run->threads; i++) {
        memset(&workers[i], 0, sizeof workers[i]);
        workers[i].run = run;
        workers[i].number = i;
        workers[i].storm.random.state = run->seed * 1000 + (uint64_t)i;
        workers[i].storm.most = most;
        ids[i] = thread_start(f, &workers[i]);
    }
    for (i = 0; i < run->threads; i++) thread_join(ids[i]);
}

void mode_churn(const Run *run) {
    Random r = {run->seed};
    workers_run(run, churn_thread, SIZE_LARGE);
    CHECK(shared_clear(&r) > 0 || run->operations < 1000, "nothing was ever handed over");
}

/* ---- grow: the chains of several threads interleave, so that in-place growth sometimes fails */

static void *grow_thread(void *argument) {
    Worker *w = argument;
    Random *r = &w->storm.random;
    long round;
    enum { CHAINS = 6 };
    Block chains[CHAINS];
    int i;
    for (round = 0; round < w->run->operations; round++) {
        size_t ceiling = (size_t)1 << (16 + random_below(r, 9)); /* 64 KiB to 16 MiB */
        for (i = 0; i < CHAINS; i++) block_new(&chains[i], r, 4096);
        for (;;) {
            Block *b = &chains[random_below(r, CHAINS)];
            size_t size = b->size + b->size / (1 + random_below(r, 4)) + random_below(r, 5000) + 1;
            if (size > ceiling) break;
            block_resize(b, r, size);
        }
        for (i = 0; i < CHAINS; i++) {
            while (chains[i].size > 100 && random_below(r, 8)) block_resize(&chains[i], r, chains[i].size / (1 + random_below(r, 5)) + 1);
            block_free(&chains[i], r);
        }
    }
    return NULL;
}

void mode_grow(const Run *run) { workers_run(run, grow_thread, 0); }

/* ---- classes: every size from 0 up by malloc and calloc with dirty reuse; then sizes x alignments */

void mode_classes(const Run *run) {
    Random r = {run->seed};
    enum { LIVE = 32 };
    Block live[LIVE];
    size_t size, alignment, i = 0;
    long left = run->operations;
    memset(live, 0, sizeof live);
    for (size = 0; size <= SIZE_CLASS + 70000 && left > 0; size += size < 2048 ? 1 : 1 + random_below(&r, 64), left--, i++) {
        Block *b = &live[i % LIVE];
        if (b->p) block_free(b, &r);
        block_new_by(b, &r, (int)(i % 2), size, 1);
    }
    for (alignment = 1; alignment <= SIZE_LARGE; alignment *= 2)
        for (size = 0; size <= 2 * SIZE_LARGE && left > 0; size += size < 64 ? 1 : size / 8 + random_below(&r, 32), left--, i++) {
            Block *b = &live[i % LIVE];
            if (b->p) block_free(b, &r);
            block_new_by(b, &r, 2 + (int)(i % 3), size, alignment);
        }
    for (i = 0; i < LIVE; i++)
        if (live[i].p) block_free(&live[i], &r);
    CHECK(left > 0, "%ld operations are too few for all classes", run->operations);
}

/* ---- freeonly: even threads allocate, odd threads only ever free; a ring of hand-over slots per pair */

static void *producer(Worker *w) {
    Random *r = &w->storm.random;
    long i;
    for (i = 0; i < w->run->operations; i++) {
        Block *b = pair_new(r, SIZE_CLASS * 2);
        /* The descriptors travel too, so the consumer frees two objects per hand-over and allocates none. */
        while ((b = shared_swap((uint64_t)(w->number / 2) * 64 + (uint64_t)i % 64, b)) != NULL)
            if (random_below(r, 2)) {
                pair_free(b, r);
                break;
            }
    }
    return NULL;
}

static _Atomic int producers_left;

static void *freeonly_thread(void *argument) {
    Worker *w = argument;
    uint64_t i;
    if (w->number % 2 == 0) {
        producer(w);
        atomic_fetch_sub(&producers_left, 1);
        return NULL;
    }
    for (i = 0;; i++) {
        Block *b = shared_swap((uint64_t)(w->number / 2) * 64 + i % 64, NULL);
        if (b) {
            block_check(b, b->size, "consumer");
            A(free)(b->p);
            A(free)(b);
        } else if (i % 64 == 0) {
            if (atomic_load(&producers_left) == 0) return NULL;
            sched_yield();
        }
    }
}

void mode_freeonly(const Run *run) {
    Random r = {run->seed};
    CHECK(run->threads % 2 == 0 && run->threads * 32 <= SHARED_BLOCKS, "%d threads are no pairs", run->threads);
    atomic_store(&producers_left, run->threads / 2);
    workers_run(run, freeonly_thread, 0);
    shared_clear(&r);
}

void modes_run(const Mode *modes, size_t modes_count, int count, char **words) {
    size_t i;
    Run run;
    CHECK(count == 5, "usage: %s MODE THREADS OPERATIONS SEED", words[0]);
    run.threads = atoi(words[2]);
    run.operations = atol(words[3]);
    run.seed = strtoull(words[4], NULL, 0);
    for (i = 0; i < modes_count; i++)
        if (strcmp(modes[i].name, words[1]) == 0) {
            modes[i].mode(&run);
            printf("%s: %d threads, %ld operations, seed %llu: fine", words[1], run.threads, run.operations,
                   (unsigned long long)run.seed);
            return;
        }
    CHECK(0, "no mode %s", words[1]);
}
