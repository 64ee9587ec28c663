/* RTMALLOC=0 in a preloaded process, or a sanitizer: the library leaves LD_PRELOAD, the program starts anew.
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

/* No function of the C library from here on: a sanitizer that stands under its name would begin its work. The texts are volatile,
 * for a compiler makes calls of loops over others. */
typedef volatile char rt_text;

static inline size_t rt_switch_length(const rt_text *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}

static inline int rt_switch_begins(const rt_text *text, const char *with) {
    while (*with && *text == *with) text++, with++;
    return *with == 0;
}

static inline rt_text *rt_switch_list(void) {
    for (char **entry = environ; entry && *entry; entry++)
        if (rt_switch_begins(*entry, "LD_PRELOAD=")) return *entry + 11;
    return NULL;
}

/* Behind the last slash of the first `length` characters. */
static inline size_t rt_switch_name_at(const rt_text *path, size_t length) {
    while (length && path[length - 1] != '/') length--;
    return length;
}

/* Remove every entry of this library's name from the list, which separates by colon or space; whether there was one. */
static inline int rt_switch_remove(rt_text *list, const char *own) {
    size_t length = rt_switch_length(own), at = rt_switch_name_at(own, length);
    const char *name = own + at;
    rt_text *to = list;
    int found = 0;
    length -= at;
    for (rt_text *entry = list; *entry;) {
        rt_text *end = entry;
        while (*end && *end != ':' && *end != ' ') end++;
        at = rt_switch_name_at(entry, (size_t)(end - entry));
        if ((size_t)(end - entry) == length + at && rt_switch_begins(entry + at, name)) {
            found = 1;
            entry = end + (*end != 0);
            continue;
        }
        while (entry < end) *to++ = *entry++;
        if (*end) *to++ = *entry++;
    }
    *to = 0;
    return found;
}

/* The sanitizer that is linked into the program, or NULL. Its own malloc is what it sees by; ThreadSanitizer and MemorySanitizer
 * end the process besides when they find memory of ours in places that they keep. */
extern char __asan_init __attribute__((weak));
extern char __tsan_init __attribute__((weak));
extern char __msan_init __attribute__((weak));
extern char __hwasan_init __attribute__((weak));
extern char __lsan_init __attribute__((weak));
static inline const char *rt_switch_sanitizer(void) {
#ifdef RT_EXPORT_PREFIXED
    return NULL; /* a test driver under a sanitizer, with the allocator linked in under other names */
#else
    return &__asan_init     ? "AddressSanitizer"
           : &__tsan_init   ? "ThreadSanitizer"
           : &__msan_init   ? "MemorySanitizer"
           : &__hwasan_init ? "HWAddressSanitizer"
           : &__lsan_init   ? "LeakSanitizer"
                            : NULL;
#endif
}

static inline void rt_switch_say(const char *text) { rt_system(SYS_write, 2, text, rt_switch_length(text)); }

/* Whom it starts anew for is said on stderr, if it is anybody. Returns where the program cannot start anew: the library was loaded in another way, by `ld.so PROGRAM` (which the
 * kernel gives no base address of an interpreter), or exec is forbidden. */
static inline void rt_switch_obey(char **argv, const char *whom) {
    char path[4096];
    rt_text *list = rt_switch_list();
    long length;
    if (!list || !getauxval(AT_BASE) || !rt_switch_remove(list, rt_file_of(&rt_api_own))) return;
    if (whom) {
        rt_switch_say("rtmalloc: ");
        rt_switch_say(whom);
        rt_switch_say(" is in this program, which has an allocator of its own: it runs without rtmalloc\n");
    }
    /* The path, because the process is named after what it executes. */
    length = rt_system(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        rt_system(SYS_execve, path, argv, environ);
    }
    rt_system(SYS_execve, "/proc/self/exe", argv, environ);
}
#endif
