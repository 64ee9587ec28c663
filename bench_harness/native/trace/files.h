/* Files as the trace tools use them: mapped for reading, written through one buffer. */
#ifndef BENCH_HARNESS_TRACE_FILES_H
#define BENCH_HARNESS_TRACE_FILES_H
#include "bench_harness/native/system.h"
#include <sys/stat.h>

static inline const void *file_map(const char *path, size_t *bytes) {
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *p = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &s) == 0 && s.st_size > 0) {
        *bytes = (size_t)s.st_size;
        p = mmap(0, *bytes, PROT_READ, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) close(fd);
    return p == MAP_FAILED ? 0 : p;
}

static inline int file_create(const char *path) { return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); }
static inline int file_open(const char *path) { return open(path, O_RDONLY | O_CLOEXEC); }

static inline int file_write_all(int fd, const void *data, size_t bytes) {
    const char *at = data;
    while (bytes) {
        ssize_t n = write(fd, at, bytes);
        if (n <= 0) return 0;
        at += n;
        bytes -= (size_t)n;
    }
    return 1;
}

static inline int file_read_at(int fd, void *data, size_t bytes, uint64_t at) {
    char *to = data;
    while (bytes) {
        ssize_t n = pread(fd, to, bytes, (off_t)at);
        if (n <= 0) return 0;
        to += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 1;
}

static inline long file_bytes(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 ? (long)s.st_size : -1;
}

static inline int file_write_at(int fd, const void *data, size_t bytes, uint64_t at) {
    return pwrite(fd, data, bytes, (off_t)at) == (ssize_t)bytes;
}
#endif
