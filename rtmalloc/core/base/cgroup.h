/* The memory limit of the process's control group, v2 or v1, read without allocating.
 * Every group on the way up to the root may limit it; the least counts. What cannot be read sets no limit: a container
 * without /proc or /sys has none that we know of. */
#ifndef RT_CGROUP_H
#define RT_CGROUP_H
#include <stdint.h>
#include <string.h>
#include "platform.h"
enum { RT_CGROUP_TEXT = 4096, RT_CGROUP_PATH = 2048 };
#define RT_CGROUP_NONE ((uint64_t)1 << 60) /* so much or more is no limit (v1 says so by a number close to 2**63) */

/* The line of a /proc/self/cgroup, read into `text`, that begins with "0::/", the group of v2: where its path begins, at its
 * slash, and its length in *length; NULL without one. */
static inline const char *rt_cgroup_own(char *text, size_t room, size_t *length) {
    int64_t n = rt_os_read_file("/proc/self/cgroup", text, room - 1);
    const char *line = text, *end;
    text[n > 0 ? n : 0] = 0;
    while (line && strncmp(line, "0::/", 4) != 0) line = (line = strchr(line, '\n')) ? line + 1 : NULL;
    if (!line) return NULL;
    end = strchr(line, '\n');
    *length = (end ? (size_t)(end - line) : strlen(line)) - 3;
    return line + 3;
}

/* A file of one number; RT_CGROUP_NONE for "max", and where there is none. */
static inline uint64_t rt_cgroup_number(const char *path) {
    char text[32];
    int64_t length = rt_os_read_file(path, text, sizeof text - 1);
    uint64_t value = 0;
    int i;
    if (length <= 0 || text[0] < '0' || text[0] > '9') return RT_CGROUP_NONE;
    for (i = 0; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
        if (value >= RT_CGROUP_NONE / 10) return RT_CGROUP_NONE;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    return value;
}

/* The lesser one. */
static inline uint64_t rt_cgroup_min(uint64_t one, uint64_t other) { return one < other ? one : other; }

/* The least number in the files `name` of `group` and all groups above it, under the directory `mount`. */
static inline uint64_t rt_cgroup_least(const char *mount, const char *group, size_t length, const char *name) {
    char path[RT_CGROUP_PATH];
    size_t at = strlen(mount), end = strlen(name) + 1;
    uint64_t least = RT_CGROUP_NONE;
    if (at + length + end + 1 > sizeof path) return RT_CGROUP_NONE;
    memcpy(path, mount, at);
    memcpy(path + at, group, length);
    for (;;) {
        while (length && path[at + length - 1] == '/') length--;
        path[at + length] = '/';
        memcpy(path + at + length + 1, name, end);
        least = rt_cgroup_min(least, rt_cgroup_number(path));
        if (!length) return least;
        while (length && path[at + length - 1] != '/') length--;
    }
}

/* Whether a line of /proc/self/cgroup, "NUMBER:CONTROLLERS:PATH", is the memory controller's of v1; its path. */
static inline const char *rt_cgroup_is_memory(const char *line, const char *end) {
    const char *p = line, *word;
    while (p < end && *p != ':') p++;
    while (p < end) {
        word = ++p;
        while (p < end && *p != ',' && *p != ':') p++;
        if (p - word == 6 && memcmp(word, "memory", 6) == 0) {
            while (p < end && *p != ':') p++;
            return p < end ? p + 1 : NULL;
        }
        if (p < end && *p == ':') return NULL;
    }
    return NULL;
}

/* Bytes that this process's groups may have; RT_CGROUP_NONE without a limit. */
static inline uint64_t rt_cgroup_limit(void) {
    char text[RT_CGROUP_TEXT];
    uint64_t least = RT_CGROUP_NONE;
    size_t length;
    const char *path = rt_cgroup_own(text, sizeof text, &length), *line, *end;
    if (path) {
        least = rt_cgroup_least("/sys/fs/cgroup", path, length, "memory.max");
        /* Beyond it the kernel takes pages away, and the group stands still meanwhile. */
        least = rt_cgroup_min(least, rt_cgroup_least("/sys/fs/cgroup", path, length, "memory.high"));
        least = rt_cgroup_min(least, rt_cgroup_least("/sys/fs/cgroup/unified", path, length, "memory.max"));
    }
    for (line = text; *line; line = *end ? end + 1 : end) {
        end = strchr(line, '\n');
        if (!end) end = line + strlen(line);
        path = rt_cgroup_is_memory(line, end);
        if (path)
            least = rt_cgroup_min(
                least, rt_cgroup_least("/sys/fs/cgroup/memory", path, (size_t)(end - path), "memory.limit_in_bytes"));
    }
    return least;
}
#endif
