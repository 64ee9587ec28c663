/* System calls without the C library.
 * Its functions have names, and libraries put themselves under names: libfaketime under the clock, socket_wrapper under close,
 * uid_wrapper under syscall. Whatever they do there, allocate or lock, malloc must not
 * call it. The answer is the kernel's: a value, or an error number as a negative one; errno stays the program's. */
#ifndef RT_SYSTEM_H
#define RT_SYSTEM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef RT_PRETEND_PAGE /* test builds only: the kernel's pages are so long (tests/driver/pretend.h) */
#define rt_system6 rt_system6_real
#endif
#if defined(__x86_64__) && !defined(__ILP32__)
static inline long rt_system6(long n, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "0"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}
#elif defined(__aarch64__)
static inline long rt_system6(long n, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#else /* by the C library: right, but for those who put themselves under its name */
static inline long rt_system6(long n, long a, long b, long c, long d, long e, long f) {
    int saved = errno;
    long r = syscall(n, a, b, c, d, e, f);
    if (r == -1) r = -errno;
    errno = saved;
    return r;
}
#endif

#ifdef RT_PRETEND_PAGE
#undef rt_system6
#include RT_PRETEND
#endif

#define RT_SYSTEM_NTH(_1, _2, _3, _4, _5, _6, _7, N, ...) N
#define RT_SYSTEM_1(n) rt_system6(n, 0, 0, 0, 0, 0, 0)
#define RT_SYSTEM_2(n, a) rt_system6(n, (long)(a), 0, 0, 0, 0, 0)
#define RT_SYSTEM_3(n, a, b) rt_system6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define RT_SYSTEM_4(n, a, b, c) rt_system6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define RT_SYSTEM_5(n, a, b, c, d) rt_system6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define RT_SYSTEM_6(n, a, b, c, d, e) rt_system6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define RT_SYSTEM_7(n, a, b, c, d, e, f) rt_system6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* rt_system(number, up to six arguments) */
#define rt_system(...)                                                                                                 \
    RT_SYSTEM_NTH(__VA_ARGS__, RT_SYSTEM_7, RT_SYSTEM_6, RT_SYSTEM_5, RT_SYSTEM_4, RT_SYSTEM_3, RT_SYSTEM_2,            \
                  RT_SYSTEM_1, )(__VA_ARGS__)

/* Behind a filter of system calls that the program has set, a call of ours may be fatal. Then nothing is called that another malloc
 * does not call: memory comes by mmap and goes by munmap, or by mmap over it. In the kernel's strict mode nothing goes at all.
 * What can be done without is not done, as if the kernel had refused it. calls/alone.h sees the filter come. */
enum { RT_FREE = 0, RT_FILTERED = 1, RT_STRICT = 2 };
static uint32_t rt_confined; /* RT_FREE ... RT_STRICT */
static inline uint32_t rt_confinement(void) { return __builtin_expect(__atomic_load_n(&rt_confined, __ATOMIC_RELAXED), 0); }
/* rt_system for what can be done without */
#define rt_system_spared(...) (rt_confinement() ? -EPERM : rt_system(__VA_ARGS__))

static inline int rt_system_failed(long r) { return (unsigned long)r > -4096ul; }
/* What the C library's function answers, errno included: for those of its names that are ours. */
static inline int rt_system_answer(long r) {
    if (!rt_system_failed(r)) return (int)r;
    errno = (int)-r;
    return -1;
}

/* The memory calls give what their namesakes do: MAP_FAILED, or 0 and -1. Under a sanitizer they are the namesakes: it follows
 * what is mapped where. That the kernel hands an address on from thread to thread by its own lock it has to be told. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
static uint32_t rt_mapping_turn;
#define RT_SYSTEM_MEMORY(name, ...)                                                                                    \
    int saved = errno;                                                                                                 \
    long r;                                                                                                            \
    __atomic_fetch_add(&rt_mapping_turn, 1, __ATOMIC_ACQ_REL);                                                         \
    r = (long)name(__VA_ARGS__);                                                                                       \
    if (r == -1) r = -errno;                                                                                           \
    __atomic_fetch_add(&rt_mapping_turn, 1, __ATOMIC_ACQ_REL);                                                         \
    errno = saved
#else
#define RT_SYSTEM_MEMORY(name, ...) long r = rt_system(SYS_##name, __VA_ARGS__)
#endif
static inline long rt_mmap_answer(void *where, size_t bytes, int protection, int flags) {
    RT_SYSTEM_MEMORY(mmap, where, bytes, protection, flags, -1, 0);
    return r;
}
static inline void *rt_mmap(void *where, size_t bytes, int protection, int flags) {
    long r = rt_mmap_answer(where, bytes, protection, flags);
    return rt_system_failed(r) ? MAP_FAILED : (void *)r;
}
static inline int rt_munmap(void *p, size_t bytes) {
    if (rt_confinement() == RT_STRICT) return -1;
    RT_SYSTEM_MEMORY(munmap, p, bytes);
    return rt_system_failed(r) ? -1 : 0;
}
static inline void *rt_mremap(void *p, size_t before, size_t now, int flags, void *where) {
    if (rt_confinement()) return MAP_FAILED;
    RT_SYSTEM_MEMORY(mremap, p, before, now, flags, where);
    return rt_system_failed(r) ? MAP_FAILED : (void *)r;
}
static inline int rt_mprotect(void *p, size_t bytes, int protection) {
    return rt_system_failed(rt_system_spared(SYS_mprotect, p, bytes, protection)) ? -1 : 0;
}
static inline int rt_madvise(void *p, size_t bytes, int advice) {
    return rt_system_failed(rt_system_spared(SYS_madvise, p, bytes, advice)) ? -1 : 0;
}
#endif
