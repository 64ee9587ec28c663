/* How the background thread is made: all signals blocked, so that no handler of the program runs on it.
 *
 * Where malloc itself is ours, the heartbeat that starts the thread may come from inside the C library: its free of a dead
 * thread's storage happens under the lock that pthread_create takes. So there the kernel makes the thread, on memory of our
 * own, and the C library does not know it. What follows from that: the thread calls nothing that looks at the C library's
 * thread data (its block of it is zero, but for the pointer to itself), and calls that the C library carries out in all threads
 * it knows end this one first (calls/alone.h). As an extension we are called by Python, and pthread_create is right. */
#ifndef RT_BACKGROUND_H
#define RT_BACKGROUND_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include "base/filters.h"
#include "base/platform.h"
#include "base/system.h"

typedef void *(*rt_thread_body)(void *);
enum {
    RT_THREAD_STARTED = 0,
    RT_THREAD_REFUSED = 1, /* there is none to be had */
    RT_THREAD_LATER = 2,   /* not now: the last one still leaves its stack, or the kernel is short of something */
    RT_THREAD_GUARD_BYTES = 64 * 1024,   /* below the stack: a page on any kernel */
    RT_THREAD_STACK_BYTES = 128 * 1024,
    RT_THREAD_STORAGE_BYTES = 64 * 1024, /* thread-local variables, which nobody uses, below ... */
    RT_THREAD_BLOCK_BYTES = 4096         /* ... what the thread pointer points to */
};
/* Defined in calls/heap_dump.pxd: write the heap profile where a signal has asked for it. */
static void rt_heap_dump_wanted(void);
static int rt_memory_is_foreign; /* memcpy is not the C library's (calls/alone.h): it may look at thread data */
static int rt_is_preload; /* malloc itself is ours: set by the preload library's DT_INIT (calls/early.h) */

#if (defined(__x86_64__) && !defined(__ILP32__) || defined(__aarch64__)) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define RT_THREAD_RAW 1
static char *rt_thread_memory;    /* of the one thread at a time; kept */
static uint32_t rt_thread_alive;  /* its number until the kernel has left its stack, and clears this */

/* A thread on `stack`, which has the body and its argument on top. Its number, or an error number as a negative one. */
static inline long rt_thread_clone(unsigned long flags, void **stack, uint32_t *tid, void *block) {
#ifdef __x86_64__
    register void *r10 __asm__("r10") = &rt_thread_alive, *r8 __asm__("r8") = block;
    long answer;
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\tpop %%rax\n\tpop %%rdi\n\tcall *%%rax\n\t"
                     "mov %[leave], %%eax\n\txor %%edi, %%edi\n\tsyscall\n1:"
                     : "=a"(answer)
                     : "0"((long)SYS_clone), "D"(flags), "S"(stack), "d"(tid), "r"(r10), "r"(r8), [leave] "i"(SYS_exit)
                     : "rcx", "r11", "memory", "cc");
    return answer;
#else
    register unsigned long x0 __asm__("x0") = flags;
    register void *x1 __asm__("x1") = stack, *x2 __asm__("x2") = tid, *x3 __asm__("x3") = block, *x4 __asm__("x4") = &rt_thread_alive;
    register long x8 __asm__("x8") = SYS_clone;
    __asm__ volatile("svc 0\n\tcbnz x0, 1f\n\t"
                     "mov x29, xzr\n\tldp x1, x0, [sp], #16\n\tblr x1\n\t"
                     "mov x0, xzr\n\tmov x8, %[leave]\n\tsvc 0\n1:"
                     : "+r"(x0)
                     : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x8), [leave] "i"(SYS_exit)
                     : "memory", "cc");
    return (long)x0;
#endif
}

static inline int rt_thread_start_raw(rt_thread_body body, void *argument, uint32_t *tid) {
    enum { FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID };
    enum { BLOCK = RT_THREAD_GUARD_BYTES + RT_THREAD_STACK_BYTES + RT_THREAD_STORAGE_BYTES };
    uint64_t all = ~(uint64_t)0, before = 0;
    void **stack;
    long answer;
    if (__atomic_load_n(&rt_thread_alive, __ATOMIC_ACQUIRE)) return RT_THREAD_LATER;
    if (!rt_thread_memory) {
        rt_thread_memory = (char *)rt_os_map(BLOCK + RT_THREAD_BLOCK_BYTES);
        if (!rt_thread_memory) return RT_THREAD_REFUSED;
        rt_system(SYS_mprotect, rt_thread_memory, (size_t)RT_THREAD_GUARD_BYTES, PROT_NONE);
        /* x86 finds its thread pointer there; on aarch64 it is a register. */
        memcpy(rt_thread_memory + BLOCK, &(char *){rt_thread_memory + BLOCK}, sizeof(char *));
    }
    stack = (void **)(rt_thread_memory + RT_THREAD_GUARD_BYTES + RT_THREAD_STACK_BYTES) - 2;
    stack[0] = (void *)body;
    stack[1] = argument;
    __atomic_store_n(&rt_thread_alive, 1, __ATOMIC_RELAXED);
    rt_system(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    answer = rt_thread_clone(FLAGS, stack, tid, rt_thread_memory + BLOCK);
    rt_system(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
    if (!rt_system_failed(answer)) return RT_THREAD_STARTED;
    __atomic_store_n(&rt_thread_alive, 0, __ATOMIC_RELAXED);
    return answer == -EAGAIN || answer == -ENOMEM ? RT_THREAD_LATER : RT_THREAD_REFUSED;
}
/* Whether the kernel still has it: exact. */
static inline int rt_thread_is_alive(void) { return rt_is_preload && __atomic_load_n(&rt_thread_alive, __ATOMIC_ACQUIRE) != 0; }
/* In a fork child, where no thread clears it. */
static inline void rt_thread_forget(void) { rt_thread_alive = 0; }
#else
#define RT_THREAD_RAW 0
static inline int rt_thread_start_raw(rt_thread_body body, void *argument, uint32_t *tid) {
    (void)body, (void)argument, (void)tid;
    return RT_THREAD_REFUSED;
}
static inline int rt_thread_is_alive(void) { return 0; }
static inline void rt_thread_forget(void) {}
#endif

/* RT_THREAD_*. The new thread is detached, has a small stack and a name, and writes its number to *tid, if nobody else does. */
static inline int rt_thread_start(rt_thread_body body, void *argument, uint32_t *tid) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int saved = errno, failed;
    if (RT_THREAD_RAW && rt_is_preload && !rt_memory_is_foreign) return rt_thread_start_raw(body, argument, tid);
    __atomic_store_n(tid, 0, __ATOMIC_RELAXED);
    if (pthread_attr_init(&attributes)) return RT_THREAD_REFUSED;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, RT_THREAD_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, &attributes, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    errno = saved;
    return !failed ? RT_THREAD_STARTED : failed == EAGAIN ? RT_THREAD_LATER : RT_THREAD_REFUSED;
}

/* Whether a descriptor cannot be had now. */
static inline int rt_files_are_short(void) {
    long file = rt_system(SYS_dup, 0);
    if (file >= 0) rt_system(SYS_close, file);
    return file == -EMFILE;
}
/* Whether a thread that nobody asked for may be started: RT_THREAD_STARTED for yes. Not behind a filter that the program has put
 * up itself, which may end the process for `clone`, or for the question. A program that means to do so says it by prctl
 * (calls/alone.h). A filter that the container's first process has as well was made for programs with threads. */
static uint32_t rt_thread_unwelcome;
static inline int rt_thread_is_welcome(void) {
    int filters = -1, unwelcome = (int)__atomic_load_n(&rt_thread_unwelcome, __ATOMIC_RELAXED);
    /* (One by pthread_create may only be had where the program has asked for it: see above.) */
    if (rt_is_preload && rt_memory_is_foreign) return RT_THREAD_REFUSED;
    if (!unwelcome) filters = rt_filters("/proc/thread-self/status");
    if (filters == 0 || (filters > 0 && filters == rt_filters("/proc/1/status"))) return RT_THREAD_STARTED;
    return filters < 0 && !unwelcome && rt_files_are_short() ? RT_THREAD_LATER : RT_THREAD_REFUSED;
}

/* What the thread does not take over from the one that has started it: real-time priority, and a CPU of its own. */
static inline void rt_thread_settle(void) {
    unsigned long mask[128];
    int priority = 0;
    long bytes;
    if (rt_system(SYS_sched_getscheduler, 0) > 0) rt_system(SYS_sched_setscheduler, 0, SCHED_OTHER, &priority);
    bytes = rt_system(SYS_sched_getaffinity, rt_system(SYS_getpid), sizeof mask, mask);
    if (bytes > 0) rt_system(SYS_sched_setaffinity, 0, bytes, mask);
}

/* Name the calling thread. Through a file: prctl is what sandboxes forbid, and plain programs do not call. */
static inline void rt_thread_name(const char *name, size_t length) {
    long file = rt_system(SYS_openat, AT_FDCWD, "/proc/thread-self/comm", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    rt_system(SYS_write, file, name, length);
    rt_system(SYS_close, file);
}
#endif
