/* Calls malloc_trim(0) every TRIM_MS from a thread of its own, as services do by hand. It replaces no function: the
 * allocator is the C library's own. The thread is part of what this costs: with it a program is no longer a
 * single-threaded one. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#define TRIM_MS 250

static void *trim(void *unused) {
    const struct timespec pause = {TRIM_MS / 1000, TRIM_MS % 1000 * 1000000L};
    for (;;) {
        nanosleep(&pause, 0);
        malloc_trim(0);
    }
    return unused;
}

__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);        /* the program's signals are not this thread's */
    int error = pthread_create(&thread, 0, trim, 0);
    pthread_sigmask(SIG_SETMASK, &before, 0);
    if (error) {
        fprintf(stderr, "trim: no thread (error %d)\n", error);
        return;
    }
    pthread_detach(thread);
}
