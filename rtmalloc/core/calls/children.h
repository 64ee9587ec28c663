/* `rtmalloc run --no-children`: the library leaves the environment that child processes inherit.
 * The launcher is an exec, so only the library can. Strings are shortened in place: nothing is allocated. */
#ifndef RT_CHILDREN_H
#define RT_CHILDREN_H
#include <stddef.h>
#include <string.h>
#include "base/options.h"

/* Before libc's initialiser has run there is no environment yet; it will find what the kernel handed over, which is this. */
static inline void rt_environment_set(char **envp) {
    if (!environ) environ = envp;
}

#define RT_NO_CHILDREN "RTMALLOC_NO_CHILDREN="

/* Remove the path `own` from the list behind LD_PRELOAD=, which separates by colon or space. */
static inline void rt_preload_remove(char *list, const char *own) {
    size_t length = strlen(own);
    char *entry = list;
    while (*entry) {
        char *end = entry + strcspn(entry, ": ");
        if ((size_t)(end - entry) == length && memcmp(entry, own, length) == 0) {
            if (*end)
                memmove(entry, end + 1, strlen(end + 1) + 1);
            else
                *(entry > list ? entry - 1 : entry) = 0;
            return;
        }
        entry = *end ? end + 1 : end;
    }
}

static inline void rt_environment_leave(const char *own) {
    char **from, **to = environ;
    if (!environ || !rt_environment_get("RTMALLOC_NO_CHILDREN")) return;
    for (from = environ; *from; from++) {
        if (strncmp(*from, RT_NO_CHILDREN, sizeof RT_NO_CHILDREN - 1) == 0) continue;
        if (strncmp(*from, "LD_PRELOAD=", 11) == 0) {
            rt_preload_remove(*from + 11, own);
            if (!(*from)[11]) continue;
        }
        *to++ = *from;
    }
    *to = NULL;
}
#endif
