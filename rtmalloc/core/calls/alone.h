/* System calls that want one thread, or that not all threads would follow: the background thread ends first.
 * Of the latter some confine the caller alone, and some the C library does in all threads that it knows. A later one is
 * begun by a thread of the program's, and has what that one has. */
#ifndef RT_ALONE_H
#define RT_ALONE_H
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include "base/lock.h"
#include "base/platform.h"
#include "base/system.h"
static int rt_background_is_ours(void);
static void rt_background_hold(void);
static void rt_background_release(void);
static void rt_background_refuse(void);
static void rt_batch_end(void);
static uint32_t rt_thread_unwelcome; /* giveback/background.h, as the next */
static int rt_memory_is_foreign;
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
/* Behind a filter of system calls the allocator confines itself, from before the call on; there the start of a thread may be fatal,
 * too. */
static inline long rt_alone_filter(uint32_t how, long n, long a, long b, long c, long d, long e) {
    uint32_t before = rt_confinement();
    long answer;
    /* (In a child of vfork the memory, and with it all that follows here, is the parent's.) */
    if (!rt_background_is_ours() && rt_mark_is_good()) return rt_system(n, a, b, c, d, e);
    rt_background_hold();
    if (how > before) __atomic_store_n(&rt_confined, how, __ATOMIC_RELAXED);
    rt_batch_end();
    answer = rt_system(n, a, b, c, d, e);
    if (rt_system_failed(answer)) __atomic_store_n(&rt_confined, before, __ATOMIC_RELAXED);
    else rt_background_refuse();
    rt_background_release();
    return answer;
}
RT_ALONE int prctl(int option, ...) {
    va_list rest;
    long a, b, c, d, answer;
    va_start(rest, option); /* as the C library: four are read, however many were given */
    a = va_arg(rest, long);
    b = va_arg(rest, long);
    c = va_arg(rest, long);
    d = va_arg(rest, long);
    va_end(rest);
    if (!rt_prctl_confines(option)) return rt_system_answer(rt_system(SYS_prctl, option, a, b, c, d));
    if (option == PR_SET_SECCOMP)
        return rt_system_answer(
            rt_alone_filter(a == SECCOMP_MODE_STRICT ? RT_STRICT : RT_FILTERED, SYS_prctl, option, a, b, c, d));
    /* A filter follows what comes before one: behind it the start of a thread may be fatal. */
    if (option == PR_SET_NO_NEW_PRIVS && rt_background_is_ours()) __atomic_store_n(&rt_thread_unwelcome, 1, __ATOMIC_RELAXED);
    rt_background_hold();
    answer = rt_system(SYS_prctl, option, a, b, c, d);
    rt_background_release();
    return rt_system_answer(answer);
}

/* libseccomp and browsers set filters by `syscall`. It is a jump to the next library's, with all registers and the stack as they
 * are, but for this one call. */
RT_ALONE long syscall(long number, ...);
#if defined(__x86_64__) && !defined(__ILP32__)
__asm__(".text\n.globl syscall\n.type syscall, @function\nsyscall:\n"
        "    cmpl $317, %edi\n" /* SYS_seccomp */
        "    je rt_alone_seccomp\n"
        "    jmp *rt_alone_next(%rip)\n"
        ".size syscall, .-syscall\n");
#elif defined(__aarch64__)
__asm__(".text\n.globl syscall\n.type syscall, %function\nsyscall:\n"
        "    cmp w0, #277\n"
        "    b.eq rt_alone_seccomp\n"
        "    adrp x16, rt_alone_next\n"
        "    ldr x16, [x16, :lo12:rt_alone_next]\n"
        "    br x16\n"
        ".size syscall, .-syscall\n");
#endif
static long rt_alone_plain(long n, long a, long b, long c, long d, long e, long f) {
    long r = rt_system(n, a, b, c, d, e, f);
    if (!rt_system_failed(r)) return r;
    errno = (int)-r;
    return -1;
}
__attribute__((used, visibility("hidden"))) long (*rt_alone_next)(long, long, long, long, long, long, long) = rt_alone_plain;
__attribute__((used, visibility("hidden"))) long rt_alone_seccomp(long n, long what, long flags, long filter) {
    if (what != SECCOMP_SET_MODE_STRICT && what != SECCOMP_SET_MODE_FILTER)
        return rt_alone_plain(n, what, flags, filter, 0, 0, 0);
    return rt_system_answer(
        rt_alone_filter(what == SECCOMP_SET_MODE_STRICT ? RT_STRICT : RT_FILTERED, n, what, flags, filter, 0, 0));
}
/* Who the process is. The C library's own function does it in all of the program's threads; the next thread of ours is made by
 * one of these, and has what it has. A forked child may call them while the loader's lock is nobody's: so a program that may
 * become somebody else looks its functions up when the library is loaded. */
enum { RT_IDENTITY_setuid, RT_IDENTITY_seteuid, RT_IDENTITY_setreuid, RT_IDENTITY_setresuid, RT_IDENTITY_setgid,
       RT_IDENTITY_setegid, RT_IDENTITY_setregid, RT_IDENTITY_setresgid, RT_IDENTITY_setgroups, RT_IDENTITY_initgroups,
       RT_IDENTITIES };
static void *rt_identity[RT_IDENTITIES];
static void *rt_identity_of(int which, const char *name) {
    void *found = __atomic_load_n(&rt_identity[which], __ATOMIC_ACQUIRE);
    if (!found) __atomic_store_n(&rt_identity[which], found = dlsym(RTLD_NEXT, name), __ATOMIC_RELEASE);
    if (!found) errno = ENOSYS;
    return found;
}
#define RT_ALONE_IDENTITY(name, parameters, arguments)                                                                 \
    int name parameters {                                                                                              \
        int (*theirs) parameters = (int (*) parameters)rt_identity_of(RT_IDENTITY_##name, #name);                      \
        int answer;                                                                                                    \
        if (!theirs) return -1;                                                                                        \
        rt_background_hold();                                                                                          \
        answer = theirs arguments;                                                                                     \
        rt_background_release();                                                                                       \
        return answer;                                                                                                 \
    }
RT_ALONE RT_ALONE_IDENTITY(setuid, (uid_t a), (a))
RT_ALONE RT_ALONE_IDENTITY(seteuid, (uid_t a), (a))
RT_ALONE RT_ALONE_IDENTITY(setreuid, (uid_t a, uid_t b), (a, b))
RT_ALONE RT_ALONE_IDENTITY(setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c))
RT_ALONE RT_ALONE_IDENTITY(setgid, (gid_t a), (a))
RT_ALONE RT_ALONE_IDENTITY(setegid, (gid_t a), (a))
RT_ALONE RT_ALONE_IDENTITY(setregid, (gid_t a, gid_t b), (a, b))
RT_ALONE RT_ALONE_IDENTITY(setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c))
RT_ALONE RT_ALONE_IDENTITY(setgroups, (size_t count, const gid_t *groups), (count, groups))
RT_ALONE RT_ALONE_IDENTITY(initgroups, (const char *user, gid_t group), (user, group))
/* Whether somebody stands under the names that compilers call for copies: scalene does, and looks at thread data there. */
static inline int rt_memory_ask(void) {
    const void *own[] = {(void *)memset, (void *)memmove, (void *)memcmp};
    Dl_info info;
    size_t i, foreign;
    /* (Not by dlopen, a name of profilers and sanitizers.) */
    if (!dladdr((void *)memcpy, &info) || !info.dli_fname) return 1;
    foreign = !strstr(info.dli_fname, "/libc.") && !strstr(info.dli_fname, "musl");
    for (i = 0; i < sizeof own / sizeof *own; i++)
        foreign |= (uintptr_t)own[i] - (uintptr_t)info.dli_fbase >= 4u << 20;
    return foreign != 0;
}
/* When the library is loaded: who else stands under these names? */
static inline void rt_alone_open(void) {
    static const char *const name[RT_IDENTITIES] = {"setuid", "seteuid", "setreuid", "setresuid", "setgid",
                                                    "setegid", "setregid", "setresgid", "setgroups", "initgroups"};
    void *next = dlsym(RTLD_NEXT, "syscall");
    int i;
    if (next) rt_alone_next = (long (*)(long, long, long, long, long, long, long))next;
    rt_memory_is_foreign = rt_memory_ask();
    for (i = 0; rt_os_is_root() && i < RT_IDENTITIES; i++) rt_identity_of(i, name[i]);
}
#endif
