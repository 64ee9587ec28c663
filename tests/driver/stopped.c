/* A thread that is stopped in the middle of the protocol: `stopped THREADS STOPS SEED`.
 * Thread 0 works on small blocks and stops at a step of the protocol (RT_STORM), with whatever lock it has. It goes on only when
 * each of the others has done WORK operations since. If its lock were in their way, none of them ever would: the driver then ends
 * by its alarm. */
#include "support.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 16, WORK = 2000, BLOCKS = 64, PINNED = 4000, SECONDS = 100 };
void rt_storm_hook(void);

static int threads;
static long stops;
static _Atomic long operations[MOST]; /* of each thread */
static _Atomic bool over, begun;
static __thread bool is_victim, is_stopped;
static __thread uint64_t steps_left;
static __thread Random dice;
static long places_count, stopped_count;
static void *places[512]; /* return addresses of different stops: how many places were met */

static void wait_for_the_others(void) {
    long before[MOST];
    int i;
    for (i = 1; i < threads; i++) before[i] = atomic_load(&operations[i]);
    for (i = 1; i < threads; i++)
        while (atomic_load(&operations[i]) < before[i] + WORK && !atomic_load(&over)) sched_yield();
}

static void place_note(void *place) {
    long i;
    for (i = 0; i < places_count; i++)
        if (places[i] == place) return;
    if (places_count < (long)(sizeof places / sizeof *places)) places[places_count++] = place;
}

/* Called by the core before each of its atomic changes. */
void rt_storm_hook(void) {
    if (!is_victim || is_stopped || !atomic_load_explicit(&begun, memory_order_relaxed) || steps_left--) return;
    is_stopped = true;
    steps_left = random_below(&dice, 200);
    place_note(__builtin_return_address(0));
    stopped_count++;
    wait_for_the_others();
    is_stopped = false;
}

typedef struct { uint64_t *blocks[BLOCKS]; Random random; int number; } Worker;
static Worker workers[MOST];

static void step(Worker *w) {
    uint64_t **slot = &w->blocks[random_below(&w->random, BLOCKS)];
    if (*slot) {
        CHECK((*slot)[0] == (uint64_t)(uintptr_t)slot && (*slot)[1] == ~(uint64_t)(uintptr_t)slot, "%p is not ours alone", (void *)*slot);
        A(free)(*slot);
        *slot = NULL;
    } else {
        uint64_t *p = A(malloc)(16 + random_below(&w->random, 4) * 16);
        CHECK(p != NULL, "no block");
        p[0] = (uint64_t)(uintptr_t)slot, p[1] = ~p[0];
        *slot = p;
    }
    atomic_fetch_add_explicit(&operations[w->number], 1, memory_order_relaxed);
}

static void *work(void *argument) {
    Worker *w = argument;
    if (w->number == 0) {
        is_victim = true;
        dice.state = w->random.state + 5;
        atomic_store(&begun, true);
        while (stopped_count < stops) step(w);
        atomic_store(&over, true);
    }
    while (!atomic_load(&over)) step(w);
    return NULL;
}

int main(int count, char **words) {
    static void *pinned[PINNED];
    pthread_t ids[MOST];
    int i, k;
    driver_open();
    CHECK(count == 4 && (threads = atoi(words[1])) >= 2 && threads <= MOST && (stops = atol(words[2])) > 0, "usage");
    alarm(SECONDS);
    /* Spans with free objects in every slot: the work needs no pages, and gives none back. */
    for (i = 0; i < PINNED; i++) pinned[i] = A(malloc)((size_t)(16 + i % 4 * 16));
    for (i = 0; i < PINNED; i++)
        if (i / 4 % 2) A(free)(pinned[i]);
    for (i = 0; i < threads; i++) {
        workers[i].number = i;
        workers[i].random.state = strtoull(words[3], NULL, 10) * 100 + (uint64_t)i;
    }
    for (i = 0; i < threads; i++) CHECK(pthread_create(&ids[i], NULL, work, &workers[i]) == 0, "pthread_create");
    for (i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    for (i = 0; i < threads; i++)
        for (k = 0; k < BLOCKS; k++) A(free)(workers[i].blocks[k]);
    for (i = 0; i < PINNED; i++)
        if (!(i / 4 % 2)) A(free)(pinned[i]);
    printf("stops %ld places %ld\nfine\n", stopped_count, places_count);
    return 0;
}
