/* All run-time options in one table. Default, least and most are in the option's unit; -1 where it is allowed means
 * "never" or "not at all", as the description says. They are read from RTMALLOC_OPTIONS="name=value,name=value" at
 * start-up and through rtmalloc.configure(). */
#ifndef RT_OPTIONS_H
#define RT_OPTIONS_H
#include <stdint.h>
#include <stdlib.h>
extern char **environ;
/* The environment as it is now: NULL while the process is still being set up (malloc may be called before main). */
static inline int rt_environment_is_ready(void) { return environ != NULL; }

#define RT_OPTIONS(X)                                                                                                  \
    X(thread_kib, 4096, 0, 1048576, "KiB", "free objects that one thread may keep in its bins")                        \
    X(total_kib, 16384, 0, 67108864, "KiB", "free objects that all threads together may keep in their bins")          \
    X(thread_least_kib, 128, 0, 1048576, "KiB", "of it, what a thread may have even when total_kib is used up")          \
    X(bin_max, 1024, 0, 65535, "objects", "objects that one bin may hold; 0 sends every free straight to its span")     \
    X(bin_kib, 64, 1, 1048576, "KiB", "bytes that one bin may hold (but at least two objects)")                       \
    X(slow_start_bytes, 4096, 0, 1048576, "bytes", "first capacity of a bin; it doubles with each refill; the most is no slow start") \
    X(refill_percent, 50, 1, 100, "%", "part of a bin's capacity that a refill fetches")                              \
    X(transfer_kib, 1024, 0, 65536, "KiB", "empty spans of each length kept ready between threads and page heap")     \
    X(remote_kib, 64, 0, 4096, "KiB", "freed objects of other threads that a sender may hold back to batch them")    \
    X(epoch_ms, 50, 1, 60000, "ms", "time between two looks at what a thread's bins did not need")                    \
    X(idle_epochs, 4, 0, 255, "epochs", "a bin without a refill for so long gives everything back; 0 never")         \
    X(dirty_decay_ms, 250, -1, 3600000, "ms", "free slices go back to the kernel this long after they were freed; -1 never, 0 at once")      \
    X(muzzy_decay_ms, 0, 0, 3600000, "ms", "time between MADV_FREE and MADV_DONTNEED; 0 uses MADV_DONTNEED only")    \
    X(python, 1, 0, 1, "", "1: preloaded into CPython, take its three allocator domains before it starts")            \
    X(stats_at_exit, 0, 0, 1, "", "1: print the counters to stderr when the process exits")                          \
    X(purge_adaptive, 1, 0, 1, "", "1: the delay grows (16-fold at most) while purged memory is wanted back soon")     \
    X(spare_percent, 0, 0, 100, "%", "of memory in use: free memory kept although a large block raises the peak") \
    X(page_return_ms, 250, -1, 3600000, "ms", "empty pages of spans nobody draws from go back after so long; -1 never") \
    X(background_thread, 0, 0, 1, "", "1: a thread of our own purges when the program calls us no more")                \
    X(huge_pages, 0, -1, 1, "", "-1: never; 0: where full segments grow in a row; 1: for every new segment")            \
    X(huge_page_us, 1000, 0, 1000000, "us", "a huge page that takes longer makes the dense rule pause; 0: no limit")     \
    X(populate_kib, 0, 0, 2048, "KiB", "of each segment that grows behind full ones, made resident by one system call")  \
    X(pressure, 1, 0, 1, "", "1: the background thread flushes everything when the kernel says that memory is short")  \
    X(pressure_stall_ms, 150, 1, 2000, "ms", "stalled for memory so long within 2 s is pressure")                       \
    X(remap_kib, 1024, 64, 1073741824, "KiB", "a block that realloc grows beyond this moves by page tables, not by copy") \
    X(profile, 0, 0, 1, "", "1: record the sizes of requests; RTMALLOC_PROFILE=DIRECTORY sets it and writes them at exit")  \
    X(profile_every, 1024, 1, 1048576, "requests", "the profile follows one of so many") \
    X(low_water, 1, 0, 1, "", "1: each epoch a bin gives back half of what it held all the time")                       \
    X(mailbox, 1, 0, 1, "", "1: an owner is told of frees into its spans; 0: it finds them by looking at its spans")   \
    X(keep_empty, 0, 0, 1, "spans", "1: the last empty span of a class is kept")                                        \
    X(address_order, 1, 0, 1, "", "1: the lowest span or free run first; 0: the most recent one")                      \
    X(segments, 1, 0, 1, "", "0: each span and large block is mapped when formed and unmapped when released (at start)")

/* Sets of options with a name: RTMALLOC_OPTIONS="preset=NAME", which may be followed by others. A library built with
 * RT_PRESET="NAME" begins with one. */
#define RT_PRESETS(X)                                                                                                  \
    X(classic, "thread_kib=32768,total_kib=32768,thread_least_kib=512,bin_max=8192,bin_kib=32768,idle_epochs=0,"       \
               "transfer_kib=0,remote_kib=0,mailbox=0,keep_empty=1,address_order=0,dirty_decay_ms=-1,"                 \
               "page_return_ms=-1,remap_kib=1073741824")
#ifndef RT_PRESET
#define RT_PRESET ""
#endif

enum {
#define X(name, preset, least, most, unit, text) RT_OPTION_##name,
    RT_OPTIONS(X)
#undef X
    RT_OPTION_COUNT
};

typedef struct {
    const char *name;
    int64_t preset, least, most;
    const char *unit, *text;
} rt_option_spec;

static const rt_option_spec rt_option_specs[RT_OPTION_COUNT] = {
#define X(name, preset, least, most, unit, text) {#name, preset, least, most, unit, text},
    RT_OPTIONS(X)
#undef X
};

typedef struct {
    const char *name, *text;
} rt_option_preset;

static const rt_option_preset rt_option_presets[] = {
#define X(name, text) {#name, text},
    RT_PRESETS(X)
#undef X
};
enum { RT_PRESET_COUNT = sizeof rt_option_presets / sizeof rt_option_presets[0] };
#endif
