/* Where the kernel says that memory is short, and how to ask it.
 * PSI triggers (the cgroup's memory.pressure, else the whole system's), the cgroup's memory.events, or a file that
 * RTMALLOC_PRESSURE_FILE names. Used by the background thread of the core and by the Python face; nothing here
 * allocates. A machine that offers none of them is no error. */
#ifndef RT_PRESSURE_H
#define RT_PRESSURE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cgroup.h"
#include "options.h"
#include "system.h"

enum {
    RT_PRESSURE_CGROUP = 1,  /* PSI trigger of the process's own cgroup */
    RT_PRESSURE_SYSTEM = 2,  /* PSI trigger of the whole system */
    RT_PRESSURE_EVENTS = 4,  /* memory.events of the cgroup: "high", "max" and "oom" count up */
    RT_PRESSURE_FILE = 8,    /* the file of RTMALLOC_PRESSURE_FILE: a PSI file, or a FIFO in which every byte is an alarm */
    RT_PRESSURE_WAKE = 16,   /* (result of rt_pressure_look) somebody wrote into the wake pipe */
    RT_PRESSURE_SOURCES = 2, /* at most, at a time */
    RT_PRESSURE_FD_LEAST = 64 /* our descriptors are moved up to here: programs count on the low numbers */
};

/* A descriptor of ours. A program may close what it does not know (a daemon closes everything) and get the number again for
 * a file of its own; so a descriptor is only used while it still is the file that we opened. */
typedef struct {
    int fd;
    uint32_t kind;  /* RT_PRESSURE_*; 0 = unused */
    uint64_t device, inode;
    uint64_t seen;  /* RT_PRESSURE_EVENTS: sum of the counters when last read */
} rt_pressure_source;

static inline int rt_pressure_is_ours(const rt_pressure_source *s) {
    struct stat st;
    return s->kind && rt_system(SYS_fstat, s->fd, &st) == 0 && (uint64_t)st.st_dev == s->device && (uint64_t)st.st_ino == s->inode;
}

static inline void rt_pressure_close(rt_pressure_source *s) {
    if (rt_pressure_is_ours(s)) rt_system(SYS_close, s->fd);
    s->kind = 0;
}

/* Fill `s` in for the descriptor `fd`, which moves up out of the program's way; 1, or 0 with nothing kept. */
static inline int rt_pressure_adopt(rt_pressure_source *s, int fd, uint32_t kind) {
    struct stat st;
    int high;
    if (fd < 0) return 0;
    high = (int)rt_system(SYS_fcntl, fd, F_DUPFD_CLOEXEC, RT_PRESSURE_FD_LEAST);
    if (high >= 0) {
        rt_system(SYS_close, fd);
        fd = high;
    }
    if (rt_system(SYS_fstat, fd, &st) != 0) {
        rt_system(SYS_close, fd);
        return 0;
    }
    s->fd = fd;
    s->kind = kind;
    s->device = (uint64_t)st.st_dev;
    s->inode = (uint64_t)st.st_ino;
    s->seen = 0;
    return 1;
}

/* "some STALL_US 2000000" and its end. A window of 2 s is what processes without privileges may ask for. */
static inline int rt_pressure_open_psi(rt_pressure_source *s, const char *path, uint32_t kind, uint64_t stall_ms) {
    char trigger[64] = "some ", digits[24];
    size_t at = 5, n = 0;
    uint64_t us = stall_ms * 1000;
    int fd = (int)rt_system(SYS_openat, AT_FDCWD, path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return 0;
    do digits[n++] = (char)('0' + us % 10);
    while (us /= 10);
    while (n) trigger[at++] = digits[--n];
    memcpy(trigger + at, " 2000000", 9);
    if (rt_system(SYS_write, fd, trigger, at + 9) < 0) {
        rt_system(SYS_close, fd);
        return 0;
    }
    return rt_pressure_adopt(s, fd, kind);
}

/* The sum of the counters in memory.events that tell of a lack: "high", "max", "oom" and "oom_kill". */
static inline uint64_t rt_pressure_events(int fd) {
    char text[512];
    long n = rt_system(SYS_pread64, fd, text, sizeof text - 1, 0);
    uint64_t sum = 0, value;
    char *p = text;
    if (n <= 0) return 0;
    text[n] = 0;
    while (*p) {
        int counts = strncmp(p, "high ", 5) == 0 || strncmp(p, "max ", 4) == 0 || strncmp(p, "oom", 3) == 0;
        while (*p && *p != ' ' && *p != '\n') p++;
        for (value = 0, p += *p == ' '; *p >= '0' && *p <= '9'; p++) value = value * 10 + (uint64_t)(*p - '0');
        if (counts) sum += value;
        while (*p && *p++ != '\n') {}
    }
    return sum;
}

/* The process's cgroup v2 directory without the mount point, ended by a slash; 0 when there is none or it does not fit. */
static inline size_t rt_pressure_cgroup(char *path, size_t room) {
    char text[RT_CGROUP_TEXT];
    size_t length = 0;
    const char *own = rt_cgroup_own(text, sizeof text, &length);
    if (!own || length + 2 > room) return 0;
    memcpy(path, own, length);
    if (path[length - 1] != '/') path[length++] = '/';
    path[length] = 0;
    return length;
}

/* Open what `RTMALLOC_PRESSURE_FILE` names, and nothing else if it is set. */
static inline int rt_pressure_open_named(rt_pressure_source *s, const char *path, uint64_t stall_ms) {
    struct stat st;
    if (rt_system(SYS_newfstatat, AT_FDCWD, path, &st, 0) == 0 && S_ISFIFO(st.st_mode))
        /* For writing as well: then no writer's end is the end of the file. */
        return rt_pressure_adopt(s, (int)rt_system(SYS_openat, AT_FDCWD, path, O_RDWR | O_NONBLOCK | O_CLOEXEC), RT_PRESSURE_FILE);
    return rt_pressure_open_psi(s, path, RT_PRESSURE_FILE, stall_ms);
}

/* Open the sources that this machine offers, at most RT_PRESSURE_SOURCES; what is missing is left out, what was open is
 * closed. Returns the bits of their kinds. */
static inline uint32_t rt_pressure_open(rt_pressure_source *sources, uint64_t stall_ms) {
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char path[1024];
    size_t length, m, at, count = 0;
    int i;
    uint32_t kinds = 0;
    const char *named = rt_environment_get("RTMALLOC_PRESSURE_FILE");
    for (i = 0; i < RT_PRESSURE_SOURCES; i++) rt_pressure_close(&sources[i]);
    if (named && *named) {
        kinds = rt_pressure_open_named(&sources[0], named, stall_ms) ? RT_PRESSURE_FILE : 0;
        return kinds;
    }
    for (m = 0; m < sizeof mounts / sizeof mounts[0] && !kinds; m++) {
        at = strlen(mounts[m]);
        memcpy(path, mounts[m], at);
        length = rt_pressure_cgroup(path + at, sizeof path - at - sizeof "memory.pressure");
        if (!length) break;
        at += length;
        memcpy(path + at, "memory.pressure", sizeof "memory.pressure");
        if (rt_pressure_open_psi(&sources[count], path, RT_PRESSURE_CGROUP, stall_ms))
            kinds |= sources[count++].kind;
        memcpy(path + at, "memory.events", sizeof "memory.events");
        if (rt_pressure_adopt(&sources[count], (int)rt_system(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC), RT_PRESSURE_EVENTS)) {
            sources[count].seen = rt_pressure_events(sources[count].fd);
            kinds |= sources[count++].kind;
        }
    }
    if (!(kinds & RT_PRESSURE_CGROUP)
        && rt_pressure_open_psi(&sources[count], "/proc/pressure/memory", RT_PRESSURE_SYSTEM, stall_ms))
        kinds |= RT_PRESSURE_SYSTEM;
    return kinds;
}

/* What a source that poll() reported means: its kind when memory is short. One that is gone is closed. */
static inline uint32_t rt_pressure_read(rt_pressure_source *s, short events) {
    char bytes[256];
    uint64_t now;
    uint32_t kind = s->kind;
    if (!rt_pressure_is_ours(s)) {
        s->kind = 0;
        return 0;
    }
    if (kind == RT_PRESSURE_EVENTS) {
        now = rt_pressure_events(s->fd);
        kind = now > s->seen ? kind : 0;
        s->seen = now;
        return kind;
    }
    if (events & POLLIN) {
        while (rt_system(SYS_read, s->fd, bytes, sizeof bytes) == (long)sizeof bytes) {}
        return kind;
    }
    if (events & (POLLERR | POLLNVAL)) {
        /* The cgroup was removed. */
        rt_pressure_close(s);
        return 0;
    }
    return kind;
}

/* Look at the sources, and at the wake pipe unless it is NULL, for up to `ms` milliseconds (-1: for ever). The bits of those
 * that had something to say. */
static inline uint32_t rt_pressure_look(rt_pressure_source *sources, rt_pressure_source *wake, int ms) {
    struct pollfd polled[RT_PRESSURE_SOURCES + 1];
    rt_pressure_source *who[RT_PRESSURE_SOURCES + 1];
    struct timespec limit = {ms / 1000, ms % 1000 * 1000000L};
    nfds_t count = 0, i;
    uint32_t bits = 0;
    struct stat st;
    for (i = 0; i < RT_PRESSURE_SOURCES + 1; i++) {
        rt_pressure_source *s = i < RT_PRESSURE_SOURCES ? &sources[i] : wake;
        if (!s || !s->kind) continue;
        polled[count].fd = s->fd;
        polled[count].revents = 0;
        /* PSI files are always readable: only a FIFO is asked for that. */
        polled[count].events = rt_system(SYS_fstat, s->fd, &st) == 0 && S_ISFIFO(st.st_mode) ? POLLIN : POLLPRI;
        who[count++] = s;
    }
    if (rt_system(SYS_ppoll, polled, count, ms < 0 ? NULL : &limit, NULL, 0) > 0)
        for (i = 0; i < count; i++)
            if (polled[i].revents) bits |= rt_pressure_read(who[i], polled[i].revents);
    return bits;
}

/* Write one byte into a wake pipe, whose descriptor does not block. */
static inline void rt_pressure_wake(const rt_pressure_source *wake) {
    if (rt_pressure_is_ours(wake)) rt_system(SYS_write, wake->fd, "", 1);
}

/* A pipe that does not block; wake[0] is read by rt_pressure_look, wake[1] written. 1, or 0. */
static inline int rt_pressure_pipe(rt_pressure_source *wake) {
    int ends[2];
    if (rt_system(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK) != 0) return 0;
    if (!rt_pressure_adopt(&wake[0], ends[0], RT_PRESSURE_WAKE)) {
        rt_system(SYS_close, ends[1]);
        return 0;
    }
    if (!rt_pressure_adopt(&wake[1], ends[1], RT_PRESSURE_WAKE)) {
        rt_pressure_close(&wake[0]);
        return 0;
    }
    return 1;
}
#endif
