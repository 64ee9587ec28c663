/* How many system call filters stand in front of a thread, as the kernel's status file tells.
 * By the calls by which ld.so has read this library: a filter that was there before lets them pass. */
#ifndef RT_FILTERS_H
#define RT_FILTERS_H
#include <stdint.h>
#include <string.h>
#include "platform.h"
enum { RT_FILTERS_TEXT = 4096 }; /* bytes of the file: "Seccomp:" stands behind at most a few hundred groups */

/* The number behind "NAME:\t" at the start of a line; -1 where there is none. */
static inline int rt_filters_number(const char *text, const char *name) {
    const char *p = text;
    int value = 0;
    while (p && strncmp(p, name, strlen(name)) != 0) p = (p = strchr(p, '\n')) ? p + 1 : NULL;
    if (!p) return -1;
    for (p += strlen(name); *p == '\t' || *p == ' '; p++) {}
    if (*p < '0' || *p > '9') return -1;
    while (*p >= '0' && *p <= '9') value = value * 10 + (*p++ - '0');
    return value;
}

/* 0 for none, -1 where that is not to be known. */
static inline int rt_filters(const char *path) {
    char text[RT_FILTERS_TEXT];
    int64_t length = rt_os_read_file(path, text, sizeof text - 1);
    if (length <= 0) return -1;
    text[length < (int64_t)sizeof text ? length : (int64_t)sizeof text - 1] = 0;
    if (rt_filters_number(text, "Seccomp:") == 0) return 0;
    return rt_filters_number(text, "Seccomp_filters:");
}
#endif
