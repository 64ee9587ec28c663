/* The budget that threads share: `budget THREADS` lets so many threads fill their bins one after the other and sleep, then a
 * last one wants capacity, then the sleepers wake and go on. Prints the pid's counters at exit by stats_at_exit. */
#include "support.h"
#include <pthread.h>
#include <string.h>
#include <time.h>

enum { THREADS_MOST = 64, BLOCKS = 3000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int asleep, awake;

static void sleep_ms(long ms) {
    struct timespec t = {0, ms * 1000000};
    nanosleep(&t, NULL);
}

static __thread Block blocks[BLOCKS];

/* Many sizes, one block for another: bins grow to what the budgets allow, and stay. (A thread that frees all it has at
 * once gives its bins back.) */
static void work(Random *r, int rounds) {
    while (rounds--)
        for (int i = 0; i < BLOCKS; i++) {
            if (blocks[i].p) block_free(&blocks[i], r);
            block_new_by(&blocks[i], r, 0, 16 + random_below(r, 2000), 16);
        }
}

static void work_end(Random *r) {
    for (int i = 0; i < BLOCKS; i++) block_free(&blocks[i], r);
}

static void *sleeper(void *argument) {
    Random r = {(uint64_t)(uintptr_t)argument};
    work(&r, 20);
    pthread_mutex_lock(&lock);
    asleep++;
    pthread_cond_broadcast(&changed);
    while (!awake) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    work(&r, 20);
    work_end(&r);
    return NULL;
}

int main(int count, char **words) {
    pthread_t ids[THREADS_MOST];
    Random r = {1};
    int threads = count == 2 ? atoi(words[1]) : 0, i;
    CHECK(threads > 0 && threads <= THREADS_MOST, "usage: %s THREADS", words[0]);
    driver_open();
    for (i = 0; i < threads; i++) {
        CHECK(pthread_create(&ids[i], NULL, sleeper, (void *)(uintptr_t)(i + 1)) == 0, "%d", i);
        pthread_mutex_lock(&lock);
        while (asleep <= i) pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
    }
    /* They sleep. The budgets come back an epoch at a time. */
    for (i = 0; i < 60; i++) work(&r, 1), sleep_ms(5);
    work_end(&r);
    if (getenv("BUDGET_EXIT")) {
        /* In the middle: how the account stands is printed at exit. */
        puts("fine");
        exit(0);
    }
    pthread_mutex_lock(&lock);
    awake = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    A(malloc_trim)(0);
    puts("fine");
    return 0;
}
