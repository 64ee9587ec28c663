/* All that the allocator asks of the operating system, which is Linux.
 * Above this layer only giveback/background.h and calls/switch.h make system calls. Nothing here calls malloc, or a function of
 * the C library that another library may have replaced (system.h). errno stays the caller's. */
#ifndef RT_PLATFORM_H
#define RT_PLATFORM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "system.h"
#include "vdso.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#include "mapping.h"
#include "thread_number.h"

/* Zeroed, readable and writable memory at any address; NULL on failure. */
static inline void *rt_os_map(size_t bytes) {
    void *p = rt_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    return p == MAP_FAILED ? NULL : p;
}

/* Addresses that read as zero and cannot be written until rt_os_open. */
static inline void *rt_os_reserve_zeros(size_t bytes) {
    void *p = rt_mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    return p == MAP_FAILED ? NULL : p;
}

/* Make part of rt_os_reserve_zeros writable; 0 on success. */
static inline int rt_os_open(void *p, size_t bytes) {
    return rt_mprotect(p, bytes, PROT_READ | PROT_WRITE);
}

static inline void rt_os_unmap(void *p, size_t bytes) {
    /* Splitting a mapping fails at vm.max_map_count: then at least the pages go. */
    if (rt_munmap(p, bytes) != 0) rt_madvise(p, bytes, MADV_DONTNEED);
}

/* Let the kernel take the pages when it needs them; they read as old data or zero until written. 0 on success. */
static inline int rt_os_discard_lazily(void *p, size_t bytes) {
    int r = rt_madvise(p, bytes, MADV_FREE);
    if (r == 0) rt_guard_close(p, bytes);
    return r;
}

static inline void rt_os_huge_pages(void *p, size_t bytes, int wanted) {
    rt_madvise(p, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

/* Split the huge page at `p`, its start, if there is one: MADV_COLD of a part does that, and changes no content. */
static inline void rt_os_split_huge(void *p) { rt_madvise(p, 4096, MADV_COLD); }

/* Make the pages resident by one call instead of one fault each (Linux 5.14; older kernels refuse, which does no harm). */
static inline void rt_os_populate(void *p, size_t bytes) { rt_madvise(p, bytes, MADV_POPULATE_WRITE); }

/* Move or grow a mapping of its own; NULL on failure, the old one then untouched. */
static inline void *rt_os_remap(void *p, size_t old_bytes, size_t new_bytes) {
    void *q = rt_mremap(p, old_bytes, new_bytes, MREMAP_MAYMOVE, NULL);
    return q == MAP_FAILED ? NULL : q;
}

/* Move the pages of part of a mapping to a new mapping; the old range stays mapped and reads as zero (Linux 5.7). */
static inline void *rt_os_move_pages(void *p, size_t bytes) {
    void *q = rt_mremap(p, bytes, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    return q == MAP_FAILED ? NULL : q;
}

/* Undo rt_os_move_pages: the first `bytes` of the mapping at `q` go back to `home`. 0 on success. */
static inline int rt_os_move_back(void *q, size_t mapped, void *home, size_t bytes) {
    void *p = rt_mremap(q, mapped, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, home);
    return p == home ? 0 : -1;
}

/* Bytes of [p, p + bytes) that are resident; pages are asked for in pieces that fit a small stack buffer. */
static inline size_t rt_os_resident(char *p, size_t bytes, size_t page) {
    unsigned char present[1024];
    size_t total = 0;
    while (bytes) {
        size_t piece = bytes < page * sizeof present ? bytes : page * sizeof present;
        if (rt_system_spared(SYS_mincore, p, piece, present) == 0)
            for (size_t i = 0; i < (piece + page - 1) / page; i++) total += (present[i] & 1) * page;
        p += piece;
        bytes -= piece;
    }
    return total;
}

/* Whether the process began as root: it may become somebody else. */
static inline int rt_os_is_root(void) { return getauxval(AT_EUID) == 0; }

/* Microseconds of CPU time of this thread (0 where it cannot be told). */
static inline uint64_t rt_os_thread_us(void) {
    struct timespec t = {0, 0};
    if (!rt_confinement()) t = rt_clock(CLOCK_THREAD_CPUTIME_ID);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Microseconds of the monotonic clock. */
static inline uint64_t rt_os_clock_us(void) {
    struct timespec t = rt_clock(CLOCK_MONOTONIC);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Milliseconds of a monotonic clock of about 4 ms grain: a few ns, no system call. */
static inline uint64_t rt_os_clock_ms(void) {
    struct timespec t = rt_clock(CLOCK_MONOTONIC_COARSE);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline uint64_t rt_os_random(void) {
    const char *bytes = (const char *)getauxval(AT_RANDOM); /* 16 of them, at any address */
    uint64_t value = 0x9E3779B97F4A7C15u;
    if (bytes) memcpy(&value, bytes + 8, sizeof value);
    return value;
}

/* Whether the thread `id` of this process has ended. The first thread's heap stays its own. */
static inline int rt_os_thread_is_gone(uint32_t id) {
    return id && rt_system_spared(SYS_tgkill, rt_system_spared(SYS_getpid), id, 0) == -ESRCH;
}

/* Sleep for at most `ms`, or until somebody changes *word from `seen` and wakes us. */
static inline void rt_os_futex_wait_ms(uint32_t *word, uint32_t seen, uint64_t ms) {
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    rt_system(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, &t);
}

static inline void rt_os_futex_wake(uint32_t *word, int count) {
    rt_system(SYS_futex, word, FUTEX_WAKE_PRIVATE, count);
}

static inline void rt_os_yield(void) {
    static uint32_t nobody;
    if (rt_confinement()) rt_os_futex_wait_ms(&nobody, 0, 1);
    else rt_system(SYS_sched_yield);
}

/* Restartable sequences of other threads (percpu.h): ask the kernel to be allowed to abort them; 0 on success. Costs a
 * grace period where there are several threads, next to nothing where there is one. */
enum { RT_MEMBARRIER_RSEQ = 1 << 7, RT_MEMBARRIER_RSEQ_REGISTER = 1 << 8, RT_MEMBARRIER_CPU = 1 << 0 };
static inline int rt_os_sequences_prepare(void) {
    return (int)rt_system(SYS_membarrier, RT_MEMBARRIER_RSEQ_REGISTER, 0, 0);
}

/* Abort the sequence that a thread of this process executes on `cpu` at this moment, if any. Afterwards every sequence
 * there either has committed, visibly, or will begin anew and see what was stored before this call. 0 on success; an
 * error before Linux 5.10, or where a filter refuses the call. */
static inline int rt_os_sequences_abort(uint32_t cpu) {
    int r = (int)rt_system(SYS_membarrier, RT_MEMBARRIER_RSEQ, RT_MEMBARRIER_CPU, cpu);
    /* A fork child may have to ask again. */
    if (r == -EPERM && rt_os_sequences_prepare() == 0)
        r = (int)rt_system(SYS_membarrier, RT_MEMBARRIER_RSEQ, RT_MEMBARRIER_CPU, cpu);
    return r;
}

/* The CPU that the thread is on, as a hint. */
static inline uint32_t rt_os_cpu(void) { return rt_cpu_here(); }

/* CPUs that the process may use. */
static inline uint32_t rt_os_cpus(void) {
    unsigned long mask[128]; /* 8192 CPUs */
    long bytes = rt_system(SYS_sched_getaffinity, 0, sizeof mask, mask);
    uint32_t count = 0;
    for (long i = 0; i < bytes / (long)sizeof mask[0]; i++) count += (uint32_t)__builtin_popcountl(mask[i]);
    return count ? count : 1;
}

static inline void rt_cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Write a short message to stderr without stdio, whose buffers would come from malloc. */
static inline void rt_os_complain(const char *text, size_t length) {
    while (length) {
        long n = rt_system(SYS_write, STDERR_FILENO, text, length);
        if (n <= 0) break;
        text += n;
        length -= (size_t)n;
    }
}

/* Read a file of less than `room` bytes; its length, `room` if it is longer, or -1. */
static inline int64_t rt_os_read_file(const char *name, char *text, size_t room) {
    long file = rt_system_spared(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t length = 0;
    long n = file < 0 ? -1 : 1;
    while (n > 0 && length < room) {
        n = rt_system(SYS_read, file, text + length, room - length);
        if (n > 0) length += (size_t)n;
    }
    if (file >= 0) rt_system(SYS_close, file);
    return n < 0 ? -1 : (int64_t)length;
}

/* Read a `stat` of /proc: what stands behind the name, which is in parentheses and may hold any character; "" on failure. */
static inline const char *rt_os_read_stat(const char *path, char *text, size_t room) {
    int64_t length = rt_os_read_file(path, text, room - 1);
    char *at = text + (length > 0 ? length : 0);
    *at = 0;
    while (at > text && at[-1] != ')') at--;
    return at > text ? at : "";
}

/* Bytes that are resident and of no file; the highest number where the kernel does not say. */
static inline uint64_t rt_os_private_bytes(size_t page) {
    char text[128];
    int64_t length = rt_os_read_file("/proc/self/statm", text, sizeof text - 1);
    uint64_t number[3] = {0};
    int field = 0;
    for (int64_t i = 0; i < length && field < 3; i++) {
        if (text[i] == ' ') field++;
        else number[field] = number[field] * 10 + (uint64_t)(text[i] - '0');
    }
    return field == 3 && number[1] >= number[2] ? (number[1] - number[2]) * page : ~(uint64_t)0;
}

/* A new file in `directory`, which is made if it is not there: its descriptor, or -1. */
static inline int rt_os_new_file(const char *directory, const char *name) {
    long file;
    rt_system(SYS_mkdirat, AT_FDCWD, directory, 0777);
    file = rt_system(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return file < 0 ? -1 : (int)file;
}

/* Append to a file; 0, or -1 with the rest not written. */
static inline int rt_os_append(int file, const char *text, size_t length) {
    while (length) {
        long n = rt_system(SYS_write, file, text, length);
        if (n == -EINTR) continue;
        if (n <= 0) break;
        text += n;
        length -= (size_t)n;
    }
    return length ? -1 : 0;
}

static inline void rt_os_close(int file) { rt_system(SYS_close, file); }

static inline uint32_t rt_os_process_id(void) { return (uint32_t)rt_system(SYS_getpid); }

/* Milliseconds since 1970. */
static inline uint64_t rt_os_wall_ms(void) {
    struct timespec t = rt_clock(CLOCK_REALTIME);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void rt_set_errno(int value) { errno = value; }
static inline int rt_get_errno(void) { return errno; }
#endif
