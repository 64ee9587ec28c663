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

/* Many sizes, over and over: bins grow to what the budgets allow. */
static void work(Random *r, int rounds) {
    static __thread Block blocks[BLOCKS];
    int i;
    while (rounds--) {
        for (i = 0; i < BLOCKS; i++) block_new_by(&blocks[i], r, 0, 16 + random_below(r, 2000), 16);
        for (i = 0; i < BLOCKS; i++) block_free(&blocks[i], r);
    }
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
