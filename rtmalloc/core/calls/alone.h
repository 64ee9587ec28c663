/* System calls that want one thread, or confine the caller alone: the background thread ends first.
 * A later one is begun by a thread of the program's, and has what that one has. */
#ifndef RT_ALONE_H
#define RT_ALONE_H
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include "base/system.h"
#define RT_ALONE __attribute__((visibility("default"), used))
RT_ALONE int unshare(int flags) {
    rt_background_end();
    return rt_system_answer(rt_system(SYS_unshare, flags));
}
RT_ALONE int setns(int file, int kind) {
    rt_background_end();
    return rt_system_answer(rt_system(SYS_setns, file, kind));
}
RT_ALONE int capset(void *header, const void *data) {
    rt_background_end();
    return rt_system_answer(rt_system(SYS_capset, header, data));
}
RT_ALONE int sched_setaffinity(pid_t thread, size_t bytes, const cpu_set_t *set) {
    if (thread == 0 || thread == rt_system(SYS_getpid)) rt_background_end();
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
    if (rt_prctl_confines(option)) rt_background_end();
    answer = rt_system(SYS_prctl, option, a, b, c, d);
    /* Behind a filter the start of a thread may be fatal. */
    if (option == PR_SET_SECCOMP && answer == 0) rt_background_refuse();
    return rt_system_answer(answer);
}
#endif
