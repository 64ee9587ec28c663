/* Many ranges of the arena advised by one system call: process_madvise on oneself (Linux 6.14 and later).
 *
 * A descriptor of one's own process would not stay ours (closefrom), so only PIDFD_SELF will do; older kernels answer EBADF.
 * The first call is the probe: what madvise takes, and process_madvise does not, ends the use of it for good.
 *
 * A filter of system calls may kill who makes a call that it does not know, and nobody can ask it first. So under the option's
 * default there is none while a filter is in force. Three looks find it, and none of them is a call that it could punish:
 *     inherited       the process's status is read once (base/filters.h)
 *     set by prctl    calls/alone.h hears of it before (what libseccomp does begins with PR_SET_NO_NEW_PRIVS)
 *     set otherwise   the kernel is asked before each call; who forbids that by death forbids this call, too */
#ifndef RT_VECTOR_H
#define RT_VECTOR_H
#include <sys/prctl.h>
#include <sys/uio.h>
#include "filters.h"
#include "platform.h"
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

enum {
    RT_PIDFD_SELF = -10000, /* PIDFD_SELF_THREAD: its memory is the process's */
    RT_VECTOR_MOST = 64,    /* ranges in one call: more make it hardly cheaper */
    RT_VECTOR_UNKNOWN = 0,
    RT_VECTOR_SERVES = 1,
    RT_VECTOR_REFUSED = 2,
};
static uint32_t rt_vector_state;

static inline void rt_vector_refuse(void) { __atomic_store_n(&rt_vector_state, RT_VECTOR_REFUSED, __ATOMIC_RELAXED); }

/* Whether this thread may use the call. `always`: whatever filter there is, it does not kill. */
static inline int rt_vector_serves(int always) {
    uint32_t state = __atomic_load_n(&rt_vector_state, __ATOMIC_RELAXED);
    if (rt_confinement()) return 0;
    if (state == RT_VECTOR_REFUSED || always) return state != RT_VECTOR_REFUSED;
    /* (A filter that was there before this thread, or was set since; where it cannot be told, it counts as one.) */
    if ((state == RT_VECTOR_UNKNOWN && rt_filters("/proc/thread-self/status") != 0)
        || rt_system(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0) != 0) {
        rt_vector_refuse();
        return 0;
    }
    /* Another thread may have refused meanwhile: that stays. */
    if (state == RT_VECTOR_UNKNOWN)
        __atomic_compare_exchange_n(&rt_vector_state, &state, RT_VECTOR_SERVES, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return state != RT_VECTOR_REFUSED;
}

/* madvise for each of `count` <= RT_VECTOR_MOST ranges: bit i of the answer tells that it took range i. One call ends at the
 * first range that it does not take (locked memory): that one goes alone, and another call goes on behind it. *calls counts
 * those of many. */
static inline uint64_t rt_vector_advise(const struct iovec *range, uint32_t count, int advice, int many, uint64_t *calls) {
    uint64_t taken = 0;
    uint32_t at = 0;
    while (at < count) {
        long bytes = 0;
        int asked = many && count - at > 1;
        if (asked) {
            bytes = rt_system(SYS_process_madvise, RT_PIDFD_SELF, range + at, count - at, advice, 0);
            *calls += bytes > 0;
            for (long left = bytes; at < count && left >= (long)range[at].iov_len; at++) {
                left -= (long)range[at].iov_len;
                taken |= (uint64_t)1 << at;
            }
            if (at == count) break;
        }
        if (rt_madvise(range[at].iov_base, range[at].iov_len, advice) == 0) {
            taken |= (uint64_t)1 << at;
            if (asked && bytes < 0) {
                rt_vector_refuse();
                many = 0;
            }
        }
        at++;
    }
    return taken;
}

/* Give ranges back, lazily or now: bit i of the answer tells that range i went, of *lazy that the kernel takes it when it needs
 * memory. `use` is the option `vectored`. */
static inline uint64_t rt_vector_discard(
    const struct iovec *range, uint32_t count, int lazily, int use, uint64_t *lazy, uint64_t *calls) {
    int many = count > 1 && use >= 0 && rt_vector_serves(use > 0);
    uint64_t taken = rt_vector_advise(range, count, lazily ? MADV_FREE : MADV_DONTNEED, many, calls);
    *lazy = lazily ? taken : 0;
    for (uint32_t i = 0; i < count; i++) {
        if (taken >> i & 1) rt_guard_close(range[i].iov_base, range[i].iov_len);
        else if (rt_os_discard(range[i].iov_base, range[i].iov_len) == 0) taken |= (uint64_t)1 << i;
    }
    return taken;
}
#endif
