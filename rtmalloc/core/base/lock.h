/* Which thread is forking, and whether this process is a copy that no handler has prepared.
 *
 * From fork_prepare to fork_parent or fork_child the forking thread owns every lock. Handlers of other libraries may run in
 * between: they may allocate, which counts as `depth`, and they may wait for a thread that waits for us. So a thread that has
 * waited long takes the locks from a forking thread that sleeps in a foreign handler: depth becomes FORK_GIVEN_UP, and the
 * child, which then may be torn, mends itself (calls/mend.pxd).
 *
 * A process that a raw clone or _Fork made has no handler at all. A page that the kernel clears in every copy of the memory
 * tells: its mark is then 0, and the first lock taken there mends. It is made with the second thread; until then the mark is a
 * word that stays, because no other thread can hold a lock. */
#ifndef RT_LOCK_H
#define RT_LOCK_H
#include <stdint.h>
#include <string.h>
#include "platform.h"
enum { RT_FORK_GIVEN_UP = -1, RT_MARK_COPY = 0, RT_MARK_MENDING = 1, RT_MARK_GOOD = 2 };
static void *rt_forking_thread; /* thread pointer of the thread that forks, NULL for none */
static uint32_t rt_forking_id;  /* the kernel's number of it */
static int32_t rt_fork_depth;   /* locks that it holds by virtue of the fork, or RT_FORK_GIVEN_UP */
static int rt_fork_alone;       /* the process that forks has one thread: no lock was taken for it */
static uint32_t rt_mark_word = RT_MARK_GOOD;
static uint32_t *rt_mark = &rt_mark_word;
static void *rt_mending_thread;
/* Times that a thread slept for a lock. */
static uint64_t rt_lock_sleeps;
/* Defined in calls/mend.pxd and calls/fork.pxd, above everything that has a lock. */
static void rt_mend(void);
static void rt_fork_give_up(void);

static inline int rt_fork_is_mine(void) {
    void *forking = __atomic_load_n(&rt_forking_thread, __ATOMIC_RELAXED);
    return __builtin_expect(forking != 0, 0) && forking == rt_thread_identity();
}
static inline int rt_fork_is_anyones(void) { return __atomic_load_n(&rt_forking_thread, __ATOMIC_RELAXED) != 0; }
static inline void rt_fork_begin(void) {
    __atomic_store_n(&rt_forking_id, rt_os_thread_number(), __ATOMIC_RELAXED);
    __atomic_store_n(&rt_fork_depth, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&rt_forking_thread, rt_thread_identity(), __ATOMIC_RELEASE);
}
/* The fork is over for this thread: whether it still owned the locks. */
static inline int rt_fork_end(void) {
    int owned;
    if (!rt_fork_is_mine()) return 0;
    owned = __atomic_exchange_n(&rt_fork_depth, RT_FORK_GIVEN_UP, __ATOMIC_ACQ_REL) != RT_FORK_GIVEN_UP;
    __atomic_store_n(&rt_forking_thread, (void *)0, __ATOMIC_RELEASE);
    return owned;
}
/* In a copy: whoever forked, it was not this thread. */
static inline void rt_fork_forget(void) {
    rt_forking_thread = NULL;
    rt_fork_depth = RT_FORK_GIVEN_UP;
}
/* This thread forks and finds a lock taken: by itself? Then it goes in, and so long nobody takes the locks away. */
static inline int rt_fork_enter(void) {
    int32_t depth = __atomic_load_n(&rt_fork_depth, __ATOMIC_RELAXED);
    while (depth >= 0)
        if (__atomic_compare_exchange_n(&rt_fork_depth, &depth, depth + 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return 1;
    return 0;
}
static inline int rt_fork_leave(void) {
    if (__atomic_load_n(&rt_fork_depth, __ATOMIC_RELAXED) <= 0) return 0;
    __atomic_fetch_sub(&rt_fork_depth, 1, __ATOMIC_RELEASE);
    return 1;
}
/* Whether the forking thread sleeps where a signal could wake it: in a handler. In the middle of the fork itself it runs, or
 * waits where none can. */
static inline int rt_fork_sleeps(void) {
    char path[64] = "/proc/self/task/", text[256], digits[12];
    int at = 16, n = 0;
    uint32_t id = __atomic_load_n(&rt_forking_id, __ATOMIC_RELAXED);
    do digits[n++] = (char)('0' + id % 10);
    while (id /= 10);
    while (n) path[at++] = digits[--n];
    memcpy(path + at, "/stat", 6);
    return strncmp(rt_os_read_stat(path, text, sizeof text), " S", 2) == 0;
}
/* Take the locks away: 1 for the one thread that may then drop them. */
static inline int rt_fork_take_away(void) {
    int32_t none = 0;
    return rt_fork_is_anyones() && rt_fork_sleeps()
           && __atomic_compare_exchange_n(&rt_fork_depth, &none, RT_FORK_GIVEN_UP, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Make the page. Without it (before Linux 4.14) copies without handlers go unnoticed. */
static inline void rt_mark_open(void) {
    uint32_t *before = &rt_mark_word, *page;
    if (__atomic_load_n(&rt_mark, __ATOMIC_ACQUIRE) != before) return;
    page = rt_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (page == MAP_FAILED) return;
    *page = RT_MARK_GOOD;
    if (rt_madvise(page, 4096, 18 /* MADV_WIPEONFORK */) != 0
        || !__atomic_compare_exchange_n(&rt_mark, &before, page, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        rt_munmap(page, 4096);
}
static inline int rt_mark_is_good(void) {
    return __builtin_expect(__atomic_load_n(__atomic_load_n(&rt_mark, __ATOMIC_ACQUIRE), __ATOMIC_ACQUIRE) == RT_MARK_GOOD, 1);
}
/* This is a copy: 1 for the thread that has to mend it. The others wait until it is done; it itself goes on. */
static inline int rt_mark_claim(void) {
    uint32_t copy = RT_MARK_COPY;
    if (__atomic_compare_exchange_n(rt_mark, &copy, RT_MARK_MENDING, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        rt_mending_thread = rt_thread_identity();
        return 1;
    }
    while (!rt_mark_is_good() && rt_mending_thread != rt_thread_identity()) rt_os_yield();
    return 0;
}
static inline void rt_mark_good(void) { __atomic_store_n(rt_mark, RT_MARK_GOOD, __ATOMIC_RELEASE); }
#endif
