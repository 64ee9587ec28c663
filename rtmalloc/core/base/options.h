/* What the generated table of run-time options (_options.h) is made of, and the environment. */
#ifndef RT_OPTIONS_H
#define RT_OPTIONS_H
#include <stdint.h>
#include <string.h>
extern char **environ;
extern void *__libc_stack_end __attribute__((weak));
/* The environment as it is now. Malloc may be called before the C library knows it: then it is where the kernel has put it,
 * behind the arguments, which glibc's loader tells. NULL where that is not known. */
static inline char **rt_environment(void) {
    long *arguments = &__libc_stack_end ? (long *)__libc_stack_end : NULL;
    if (environ || !arguments) return environ;
    return (char **)(arguments + arguments[0] + 2);
}
static inline int rt_environment_is_ready(void) { return rt_environment() != NULL; }

/* The value of a variable, or NULL. (bash has a getenv of its own, which allocates.) */
static inline char *rt_environment_get(const char *name) {
    size_t length = strlen(name);
    for (char **entry = rt_environment(); entry && *entry; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
    return NULL;
}

#ifndef RT_PRESET
#define RT_PRESET "" /* the set of options that the library begins with */
#endif

typedef struct {
    const char *name;
    int64_t preset, least, most;
    const char *unit, *text;
} rt_option_spec;

typedef struct {
    const char *name, *text;
} rt_option_preset;

#include "_options.h"
#endif
