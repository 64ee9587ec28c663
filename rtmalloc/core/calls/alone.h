/* System calls that want one thread, or that not all threads would follow: the background thread ends first.
 * Of the latter some confine the caller alone, and some the C library does in all threads that it knows. A later one is
 * begun by a thread of the program's, and has what that one has. */
#ifndef RT_ALONE_H
#define RT_ALONE_H
#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include "base/system.h"
#define RT_ALONE __attribute__((visibility("default"), used))
static inline int rt_alone(long number, long a, long b, long c) {
    long answer;
    rt_background_hold();
    answer = rt_system(number, a, b, c);
    rt_background_release();
    return rt_system_answer(answer);
}
RT_ALONE int unshare(int flags) { return rt_alone(SYS_unshare, flags, 0, 0); }
RT_ALONE int setns(int file, int kind) { return rt_alone(SYS_setns, file, kind, 0); }
RT_ALONE int capset(void *header, const void *data) { return rt_alone(SYS_capset, (long)header, (long)data, 0); }
RT_ALONE int sched_setaffinity(pid_t thread, size_t bytes, const cpu_set_t *set) {
    if (thread == 0 || thread == rt_system(SYS_getpid)) return rt_alone(SYS_sched_setaffinity, thread, (long)bytes, (long)set);
    return rt_system_answer(rt_system(SYS_sched_setaffinity, thread, bytes, set));
}
static inline int rt_prctl_confines(int option) {
    return option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP || option == PR_SET_SECUREBITS ||
           option == PR_CAPBSET_DROP || option == PR_CAP_AMBIENT || option == PR_SET_SPECULATION_CTRL;
}
RT_ALONE int prctl(int option, ...) {
    va_list rest;
    unsigned long a, b, c, d;
    long answer;
    va_start(rest, option); /* as the C library: four are read, however many were given */
    a = va_arg(rest, unsigned long);
    b = va_arg(rest, unsigned long);
    c = va_arg(rest, unsigned long);
    d = va_arg(rest, unsigned long);
    va_end(rest);
    if (!rt_prctl_confines(option)) return rt_system_answer(rt_system(SYS_prctl, option, a, b, c, d));
    /* A filter follows what comes before one: behind it the start of a thread may be fatal. */
    if (option == PR_SET_NO_NEW_PRIVS) __atomic_store_n(&rt_thread_unwelcome, 1, __ATOMIC_RELAXED);
    rt_background_hold();
    if (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP) rt_batch_end();
    answer = rt_system(SYS_prctl, option, a, b, c, d);
    if (option == PR_SET_SECCOMP && answer == 0) rt_background_refuse();
    rt_background_release();
    return rt_system_answer(answer);
}

/* Who the process is. The C library's own function does it in all of the program's threads; the next thread of ours is made by one
 * of these, and has what it has. */
#define RT_ALONE_IDENTITY(name, parameters, arguments)                                                                 \
    RT_ALONE int name parameters {                                                                                     \
        int (*theirs) parameters = (int (*) parameters)dlsym(RTLD_NEXT, #name);                                        \
        int answer;                                                                                                    \
        if (!theirs) {                                                                                                 \
            errno = ENOSYS;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        rt_background_hold();                                                                                          \
        answer = theirs arguments;                                                                                     \
        rt_background_release();                                                                                       \
        return answer;                                                                                                 \
    }
RT_ALONE_IDENTITY(setuid, (uid_t a), (a))
RT_ALONE_IDENTITY(seteuid, (uid_t a), (a))
RT_ALONE_IDENTITY(setreuid, (uid_t a, uid_t b), (a, b))
RT_ALONE_IDENTITY(setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c))
RT_ALONE_IDENTITY(setgid, (gid_t a), (a))
RT_ALONE_IDENTITY(setegid, (gid_t a), (a))
RT_ALONE_IDENTITY(setregid, (gid_t a, gid_t b), (a, b))
RT_ALONE_IDENTITY(setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c))
RT_ALONE_IDENTITY(setgroups, (size_t count, const gid_t *groups), (count, groups))
RT_ALONE_IDENTITY(initgroups, (const char *user, gid_t group), (user, group))
#endif
