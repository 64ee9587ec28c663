/* A library that stands before the C library in everything that an allocator may want of the kernel. Each call allocates, and
 * holds a lock of its own meanwhile, as libfaketime, socket_wrapper and uid_wrapper do: an allocator that comes by here from
 * under malloc calls itself without end, or waits for itself. What it does not allow says so and ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int depth;

static void say(const char *name) {
    (void)!write(2, name, strlen(name));
    (void)!write(2, " was called from inside a call of its own\n", 42);
    abort();
}

static void enter(const char *name, int may_nest) {
    if (depth++ && !may_nest) say(name);
    if (depth == 1) {
        pthread_mutex_lock(&lock);
        free(malloc(40));
        free(calloc(3, 5000));
        free(realloc(malloc(10), 200000));
        pthread_mutex_unlock(&lock);
    }
    depth--;
}

static void before(void) { pthread_mutex_lock(&lock); }
static void after(void) { pthread_mutex_unlock(&lock); }
__attribute__((constructor)) static void load(void) { pthread_atfork(before, after, after); }

typedef long (*any)(long, long, long, long, long, long);
#define STAND_BEFORE(name, may_nest)                                                                                   \
    long hostile_##name(long, long, long, long, long, long) __asm__(#name);                                            \
    long hostile_##name(long a, long b, long c, long d, long e, long f) {                                              \
        static any next;                                                                                               \
        if (!next) next = (any)dlsym(RTLD_NEXT, #name);                                                                \
        enter(#name, may_nest);                                                                                        \
        return next(a, b, c, d, e, f);                                                                                 \
    }
#define HOSTILE(name) STAND_BEFORE(name, 0)
#define NAMED(name) STAND_BEFORE(name, 1) /* the allocator may call it, holding nothing (test_interposers.py) */
HOSTILE(clock_gettime)
HOSTILE(close)
HOSTILE(fcntl64)
HOSTILE(fstat64)
HOSTILE(getenv)
HOSTILE(getpid)
HOSTILE(getrlimit64)
HOSTILE(madvise)
HOSTILE(mincore)
HOSTILE(mkdir)
HOSTILE(mmap64)
HOSTILE(mprotect)
HOSTILE(mremap)
HOSTILE(munmap)
HOSTILE(nanosleep)
HOSTILE(open64)
HOSTILE(poll)
HOSTILE(prctl)
HOSTILE(pread64)
HOSTILE(read)
HOSTILE(readlink)
HOSTILE(sched_getaffinity)
HOSTILE(sched_getcpu)
HOSTILE(sched_yield)
HOSTILE(stat64)
HOSTILE(syscall)
HOSTILE(sysinfo)
NAMED(pthread_create)
NAMED(pthread_key_create)
NAMED(pthread_setspecific)
NAMED(__register_atfork)
