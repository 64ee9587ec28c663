/* pthread_atfork with the types that fork.pxd needs. */
#ifndef RT_FORK_H
#define RT_FORK_H
#include <pthread.h>
typedef void (*rt_fork_handler)(void);
static inline int rt_fork_handlers(rt_fork_handler prepare, rt_fork_handler parent, rt_fork_handler child) {
    return pthread_atfork(prepare, parent, child);
}
/* Whether the process that forked last (that is: this one or its parent) had more than one thread, as far as glibc (2.32
 * and later) tells; yes otherwise. */
extern char __libc_single_threaded __attribute__((weak));
static int rt_threads_before_fork;
static inline void rt_note_threads(void) { rt_threads_before_fork = !(&__libc_single_threaded && __libc_single_threaded); }
static inline int rt_had_threads(void) { return rt_threads_before_fork; }
#endif
