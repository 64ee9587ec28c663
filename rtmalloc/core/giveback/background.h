/* How the background thread is made: all signals blocked, so that no handler of the program runs on it. */
#ifndef RT_BACKGROUND_H
#define RT_BACKGROUND_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include "base/system.h"

typedef void *(*rt_thread_body)(void *);

/* Defined in calls/heap_dump.pxd: write the heap profile where a signal has asked for it. */
static void rt_heap_dump_wanted(void);

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

/* Name the calling thread. Through a file: prctl is what sandboxes forbid, and plain programs do not call. */
static inline void rt_thread_name(const char *name, size_t length) {
    long file = rt_system(SYS_openat, AT_FDCWD, "/proc/thread-self/comm", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    rt_system(SYS_write, file, name, length);
    rt_system(SYS_close, file);
}
#endif
