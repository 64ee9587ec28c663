/* RTMALLOC=0 for a preloaded process: the library leaves LD_PRELOAD and the program starts anew.
 * So nothing of it is left. Strings are shortened in place: nothing is allocated. */
#ifndef RT_SWITCH_H
#define RT_SWITCH_H
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
#include "base/options.h"
#include "base/system.h"
#include "calls/api.h"

static inline int rt_switch_is_off(void) {
    const char *value = rt_environment_get("RTMALLOC");
    return value && strcmp(value, "0") == 0;
}

static inline size_t rt_switch_name_at(const char *path, size_t length) {
    while (length && path[length - 1] != '/') length--;
    return length;
}

/* Remove every entry of this library's name from the list, which separates by colon or space; whether there was one. */
static inline int rt_switch_remove(char *list, const char *own) {
    const char *name = own + rt_switch_name_at(own, strlen(own));
    char *to = list;
    int found = 0;
    for (char *entry = list; *entry;) {
        size_t length = strcspn(entry, ": "), at = rt_switch_name_at(entry, length);
        char *next = entry + length + (entry[length] != 0);
        if (strlen(name) == length - at && memcmp(entry + at, name, length - at) == 0) {
            found = 1;
        } else {
            memmove(to, entry, (size_t)(next - entry));
            to += next - entry;
        }
        entry = next;
    }
    *to = 0;
    return found;
}

/* Returns where the program cannot start anew: the library was loaded in another way, by `ld.so PROGRAM` (which the
 * kernel gives no base address of an interpreter), or exec is forbidden. */
static inline void rt_switch_obey(char **argv) {
    char path[4096];
    char *list = rt_environment_get("LD_PRELOAD");
    ssize_t length;
    if (!list || !getauxval(AT_BASE) || !rt_switch_remove(list, rt_file_of(&rt_api_own))) return;
    /* The path, because the process is named after what it executes. */
    length = rt_system(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        execve(path, argv, environ);
    }
    execve("/proc/self/exe", argv, environ);
}
#endif
