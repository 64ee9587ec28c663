/* System calls that want a process of one thread, or happen in all its threads: the background thread ends first.
 * Of the latter the C library knows its own threads only (giveback/background.h). None of ours is started meanwhile. */
#ifndef RT_ALONE_H
#define RT_ALONE_H
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include "base/system.h"
__attribute__((visibility("default"), used)) int unshare(int flags) {
    int answer;
    rt_background_hold();
    answer = rt_system_answer(rt_system(SYS_unshare, flags));
    rt_background_release();
    return answer;
}
__attribute__((visibility("default"), used)) int setns(int file, int kind) {
    int answer;
    rt_background_hold();
    answer = rt_system_answer(rt_system(SYS_setns, file, kind));
    rt_background_release();
    return answer;
}

/* A program is about to lock itself in: by a filter of system calls, or by what comes before one. The thread would stay outside. */
__attribute__((visibility("default"), used)) int prctl(int option, ...) {
    unsigned long a, b, c, d;
    int locks = option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP, answer;
    va_list more;
    va_start(more, option);
    a = va_arg(more, unsigned long), b = va_arg(more, unsigned long);
    c = va_arg(more, unsigned long), d = va_arg(more, unsigned long);
    va_end(more);
    if (locks) {
        __atomic_store_n(&rt_thread_unwelcome, 1, __ATOMIC_RELAXED);
        rt_background_hold();
    }
    answer = rt_system_answer(rt_system(SYS_prctl, option, a, b, c, d));
    if (locks) rt_background_release();
    return answer;
}

/* Who the process is. The C library's own function does it in all of the program's threads; the next thread of ours is made by one
 * of these, and has what it has. */
#define RT_ALONE_IDENTITY(name, parameters, arguments)                                                                 \
    __attribute__((visibility("default"), used)) int name parameters {                                                 \
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
