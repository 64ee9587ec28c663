/* What Cython cannot say by itself: atomics, and reads of /proc that use neither stdio nor malloc.
 * A cell must not call the allocator that it measures outside its workload, so everything here works on
 * the stack and on raw system calls. */
#ifndef BENCH_HARNESS_SYSTEM_H
#define BENCH_HARNESS_SYSTEM_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static inline long atomic_read(const long *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline void atomic_write(long *p, long v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline long atomic_read_acquire(const long *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void atomic_write_release(long *p, long v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void *atomic_swap(void **p, void *v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL); }
static inline void *pointer_read(void **p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
#if defined(__x86_64__)
static inline void spin_pause(void) { __builtin_ia32_pause(); }
#else
static inline void spin_pause(void) { sched_yield(); }
#endif
static inline long atomic_add(long *p, long v) { return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL); }

/* CLOCK_MONOTONIC is one clock for the whole machine, so the harness can lay its own RSS samples, taken
 * from outside, beside the marks that a cell reports. */
static inline long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static inline void sleep_until_ns(long deadline) {
    struct timespec t = {deadline / 1000000000L, deadline % 1000000000L};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0) == EINTR) { }
}

static inline size_t file_read(const char *path, char *buffer, size_t room) {
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    while (used + 1 < room) {
        ssize_t n = read(fd, buffer + used, room - 1 - used);
        if (n <= 0) break;
        used += (size_t)n;
    }
    close(fd);
    buffer[used] = 0;
    return used;
}

/* A "Name:   123 kB" line of /proc/self/status, in bytes; -1 when the kernel does not show it. */
static inline long status_bytes(const char *name) {
    char text[4096];
    if (!file_read("/proc/self/status", text, sizeof text)) return -1;
    char *line = strstr(text, name);
    return line ? strtol(line + strlen(name), 0, 10) * 1024 : -1;
}

static inline long resident_bytes(void) {
    char text[128];
    if (!file_read("/proc/self/statm", text, sizeof text)) return -1;
    char *second = strchr(text, ' ');
    return second ? strtol(second, 0, 10) * sysconf(_SC_PAGESIZE) : -1;
}

/* What a library that stands in front of the allocator offers (preload/latency.c); 0 without one. */
static inline void *probe_function(const char *name) { return dlsym(RTLD_DEFAULT, name); }

/* The file that a symbol really comes from: the proof of which allocator served the cell. */
static inline const char *object_of(const char *symbol) {
    Dl_info info;
    void *(*behind)(const char *) = (void *(*)(const char *))probe_function("bench_harness_behind");
    void *address = behind ? behind(symbol) : dlsym(RTLD_DEFAULT, symbol);
    return address && dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}

/* With the latency probe in front: calls are counted from now on. */
static inline void latency_begin(void) {
    void (*begin)(void) = (void (*)(void))probe_function("bench_harness_latency_begin");
    if (begin) begin();
}

/* What the probe has counted, as JSON; 0 without one. */
static inline const char *latency_text(void) {
    const char *(*text)(void) = (const char *(*)(void))probe_function("bench_harness_latency_text");
    return text ? text() : 0;
}

/* True under the no-op allocator, whose blocks overlap: what a block holds says nothing then. */
static inline int blocks_overlap(void) { return dlsym(RTLD_DEFAULT, "bench_harness_blocks_overlap") != 0; }

/* Memory for the harness's own tables: straight from the kernel, so that the allocator under test neither
 * serves nor accounts it. */
static inline void *map_pages(size_t bytes) {
    void *p = mmap(0, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? 0 : p;
}
static inline void unmap_pages(void *p, size_t bytes) { munmap(p, bytes ? bytes : 1); }

/* Of this process and of those children that have ended. */
static inline void usage_read(double *user, double *system, long *minor, long *major, long *involuntary) {
    static const int kinds[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    *user = *system = 0;
    *minor = *major = *involuntary = 0;
    for (int i = 0; i < 2; i++) {
        struct rusage u;
        getrusage(kinds[i], &u);
        *user += (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec * 1e-6;
        *system += (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec * 1e-6;
        *minor += u.ru_minflt;
        *major += u.ru_majflt;
        *involuntary += u.ru_nivcsw;
    }
}
#endif
