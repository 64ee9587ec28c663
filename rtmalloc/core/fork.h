/* pthread_atfork with the types that fork.pxd needs. */
#ifndef RT_FORK_H
#define RT_FORK_H
#include <pthread.h>
typedef void (*rt_fork_handler)(void);
static inline int rt_fork_handlers(rt_fork_handler prepare, rt_fork_handler parent, rt_fork_handler child) {
    return pthread_atfork(prepare, parent, child);
}
#endif
