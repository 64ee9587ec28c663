/* How the background thread is made: all signals blocked, so that no handler of the program runs on it. */
#ifndef RT_BACKGROUND_H
#define RT_BACKGROUND_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef void *(*rt_thread_body)(void *);

/* 0 on success. The new thread is detached, has a small stack and a name. */
static inline int rt_thread_start(rt_thread_body body, void *argument) {
    enum { STACK_BYTES = 128 * 1024 };
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int saved = errno, failed;
    if (pthread_attr_init(&attributes)) return -1;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, &attributes, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    errno = saved;
    return failed;
}

static inline void rt_thread_name(const char *name) { prctl(PR_SET_NAME, name); }

/* Sleep for `ms`, or until somebody changes *word from `seen` and wakes it. */
static inline void rt_thread_sleep_ms(uint32_t *word, uint32_t seen, uint64_t ms) {
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, &t);
}
#endif
