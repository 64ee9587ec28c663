/* The table of calls through which Python code reaches the allocator that really serves the process.
 * The preload library exports it as rtmalloc_api(); an extension that finds one uses it, and its own instance
 * otherwise. New entries go at the end. */
#ifndef RT_API_H
#define RT_API_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
enum { RT_API_VERSION = 2 };
typedef struct {
    uint32_t version;                              /* RT_API_VERSION */
    uint32_t bytes;                                /* sizeof(rt_api) of the library */
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);              /* never frees: 0 bytes give the smallest block */
    void (*free)(void *);
    int (*owns)(const void *);                     /* whether a pointer is a block of this allocator */
    int (*trim)(void);
    void (*stats)(void *stats, void *counters, void *classes); /* rt_stats, rt_heap_counters, array of rt_class_stats */
    int (*option_set)(int number, int64_t value);  /* 0, or OPTION_OUT_OF_RANGE */
    int64_t (*option_get)(int number);
    int (*hooks_set)(uint32_t domains);            /* bits of the Python domains to hook; 0 without an interpreter */
    uint32_t (*hooks_active)(void);                /* bits of the domains whose calls arrive here */
    int (*hooks_pause)(int paused);                /* 0 when there is nothing to pause to */
    const char *(*location)(void);                 /* path of the file that this code was loaded from */
    uint32_t (*class_size)(uint32_t number);       /* bytes of a small class, 0 when there is none of that number */
    const char *(*table_name)(void);               /* the file that the size classes were read from; "" = built in */
    int (*profile_start)(uint32_t every);          /* 0 when there is no memory for it */
    void (*profile_stop)(void);
    void (*profile_state)(uint64_t *state);        /* recording (0, 1), every, milliseconds, bucket counts small, large */
    int (*profile_small)(uint32_t i, void *bucket);    /* struct ProfileBucket of up to 16 * i bytes; 0 when it is empty */
    int (*profile_large)(uint32_t i, uint64_t *bucket); /* least size, requests, bytes; 0 when it is empty */
    int (*emergency_flush)(void);                  /* 1 when memory went back to the kernel */
    int (*pressure_alarm)(void);                   /* the same for who watches a source; 0 when there has just been one */
    void (*pressure_listen)(const void *wake);     /* struct rt_pressure_source (pressure.h) to write to at refusals; or NULL */
    uint32_t (*pressure_watched)(void);            /* bits of the sources that the background thread watches now */
    uint32_t (*heaps)(void *of, void *counters, uint32_t most); /* arrays of rt_heap_stats and rt_heap_counters; how many heaps there are */
    int (*caches)(void);                           /* CACHES_* (percpu.pxd): whose the caches are */
    int (*heap_dump)(int file);                    /* write the heap profile to a file; 0, -1 when that fails, 1 when there is none */
    void (*heap_finish)(void);                     /* write it where RTMALLOC_HEAP_PROFILE says: now, and not at exit again */
    void (*python_walk)(const void *walk);         /* struct rt_python_walk (profile/python_walk.h) of this interpreter */
} rt_api;

typedef const rt_api *(*rt_api_getter)(void);
/* The table of a preloaded library of the same version, or NULL. */
static inline const rt_api *rt_api_preloaded(void) {
    rt_api_getter get = (rt_api_getter)dlsym(RTLD_DEFAULT, "rtmalloc_api");
    const rt_api *api = get ? get() : NULL;
    return api && api->version == RT_API_VERSION && api->bytes >= sizeof(rt_api) ? api : NULL;
}
static inline const char *rt_file_of(const void *address) {
    Dl_info info;
    return dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}
static rt_api rt_api_own;
#endif
