/* Which thread is forking.
 * From fork_prepare to fork_parent or fork_child the forking thread owns every lock; handlers of other libraries
 * that run in between may allocate, and must not wait for themselves. */
#ifndef RT_LOCK_H
#define RT_LOCK_H
#include <stdint.h>
static void *rt_forking_thread; /* thread pointer of the thread that forks, NULL for none */
/* Times that a thread slept for a lock. */
static uint64_t rt_lock_sleeps;
static inline void *rt_thread_identity(void) { return __builtin_thread_pointer(); }
static inline int rt_fork_is_mine(void) {
    void *forking = __atomic_load_n(&rt_forking_thread, __ATOMIC_RELAXED);
    return __builtin_expect(forking != 0, 0) && forking == rt_thread_identity();
}
static inline void rt_fork_begin(void) { __atomic_store_n(&rt_forking_thread, rt_thread_identity(), __ATOMIC_RELAXED); }
static inline void rt_fork_end(void) { __atomic_store_n(&rt_forking_thread, (void *)0, __ATOMIC_RELAXED); }
#endif
