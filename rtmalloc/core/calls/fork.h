/* What fork.pxd needs of the C library. */
#ifndef RT_FORK_H
#define RT_FORK_H
#include <pthread.h>
#include "base/platform.h"
#ifndef RT_EXPORT_PREFIXED
#include "calls/alone.h"
#endif
#include "calls/early.h"
#include "giveback/background.h" /* rt_is_preload */
typedef void (*rt_fork_handler)(void);
static inline int rt_fork_handlers(rt_fork_handler prepare, rt_fork_handler parent, rt_fork_handler child) {
    return pthread_atfork(prepare, parent, child);
}
/* The threads of this process, as the kernel counts them; 0 where it does not say. */
static inline int rt_threads_now(void) {
    char text[512];
    const char *p = rt_os_read_stat("/proc/self/stat", text, sizeof text);
    int count = 0;
    for (int field = 0; *p && field < 18; p++) field += *p == ' ';
    while (*p >= '0' && *p <= '9') count = count * 10 + (*p++ - '0');
    return count;
}

/* Whether the process has one thread. Then nobody else holds a lock; the caller itself may, for fork may be called by a signal's
 * handler in the middle of malloc. glibc (2.32 and later) tells, but not any more when there has been a thread of ours. */
extern char __libc_single_threaded __attribute__((weak));
static inline int rt_is_alone(int had_background) {
    if (!&__libc_single_threaded) return 0;
    return __libc_single_threaded || (had_background && rt_threads_now() == 1);
}
static int rt_threads_before_fork;
static inline void rt_note_threads(void) { rt_threads_before_fork = !rt_is_alone(0); }
static inline int rt_had_threads(void) { return rt_threads_before_fork; }

/* glibc's fork takes the lock of the list of its streams after the handlers. Threads that hold it (getline, fflush(NULL)) call
 * malloc; so where malloc is ours it comes before our locks. It may be taken twice. */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));
__attribute__((used)) void rt_preload_init(void) {
    rt_is_preload = 1;
    rt_early_end();
    rt_thread_number_open();
#ifndef RT_EXPORT_PREFIXED
    rt_alone_open();
#endif
}
static inline void rt_streams_lock(void) {
    if (rt_is_preload && _IO_list_lock && _IO_list_unlock && _IO_list_resetlock) _IO_list_lock();
}
static inline void rt_streams_unlock(void) {
    if (rt_is_preload && _IO_list_lock && _IO_list_unlock && _IO_list_resetlock) _IO_list_unlock();
}
static inline void rt_streams_reset(void) {
    if (rt_is_preload && _IO_list_lock && _IO_list_unlock && _IO_list_resetlock) _IO_list_resetlock();
}
#endif
