/* An allocator of known cost: the harness must measure it within 5 % of the truth (selfcheck.py).
 *
 * KNOWN_SPIN_NS=k  every malloc and free spins for k ns: an operation of one of each costs 2 k ns more.
 * KNOWN_FAT_BYTES=k  every block takes k bytes more, all of them touched: N live blocks cost N k bytes more.
 *
 * Blocks of up to 1 KiB are slots of one size under one lock, so that nothing but these two numbers differs between
 * two runs: no fragmentation, no cache, no decay. Larger blocks are mappings. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define SMALL 1024              /* bytes of the largest slot-served block */
#define HEADER 16               /* bytes before each block: its size, and alignment */
#define REGION ((size_t)8 << 30) /* bytes of address space for slots */

typedef struct Slot { struct Slot *next; } Slot;
typedef struct { size_t size; size_t mapped; } Header;

static char lock, *at, *end;
static Slot *empty;
static size_t fat;
static long spin_ns;

static size_t number(const char *name) {
    const char *text = getenv(name);
    return text ? strtoul(text, 0, 10) : 0;
}

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void spin(void) {
    if (!spin_ns) return;
    for (long until = now() + spin_ns; now() < until;) { }
}

static void *map(size_t n) {
    void *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? 0 : p;
}

static void *slot_take(void) {
    char *p;
    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) sched_yield();
    if (!at && (at = map(REGION))) {
        fat = number("KNOWN_FAT_BYTES");
        spin_ns = (long)number("KNOWN_SPIN_NS");
        end = at + REGION;
    }
    if (empty) {
        p = (char *)empty;
        empty = empty->next;
    } else {
        p = at && at + HEADER + SMALL + fat <= end ? at : 0;
        if (p) {
            at += HEADER + SMALL + fat;
            memset(p, 1, HEADER + SMALL + fat);
        }
    }
    __atomic_clear(&lock, __ATOMIC_RELEASE);
    return p;
}

static void slot_give(void *p) {
    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) sched_yield();
    ((Slot *)p)->next = empty;
    empty = p;
    __atomic_clear(&lock, __ATOMIC_RELEASE);
}

void *malloc(size_t n) {
    size_t mapped = n > SMALL ? n + HEADER : 0;
    Header *h = mapped ? map(mapped) : slot_take();
    if (!h) {
        errno = ENOMEM;
        return 0;
    }
    h->size = n;
    h->mapped = mapped;
    spin();
    return (char *)h + HEADER;
}

void free(void *p) {
    if (!p) return;
    Header *h = (Header *)((char *)p - HEADER);
    if (h->mapped) munmap(h, h->mapped);
    else slot_give(h);
    spin();
}

void *calloc(size_t n, size_t m) {
    size_t bytes;
    if (__builtin_mul_overflow(n, m, &bytes)) {
        errno = ENOMEM;
        return 0;
    }
    void *p = malloc(bytes);
    return p ? memset(p, 0, bytes) : 0;
}

void *realloc(void *p, size_t n) {
    size_t old = p ? ((Header *)((char *)p - HEADER))->size : 0;
    void *q = malloc(n);
    if (!q) return 0;
    if (p) memcpy(q, p, old < n ? old : n);
    free(p);
    return q;
}

/* libc itself asks for no alignment beyond 16 in a cell; what is asked for anyway is refused, not faked. */
void *memalign(size_t a, size_t n) { return a <= HEADER ? malloc(n) : 0; }
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n) { *out = memalign(a, n); return *out ? 0 : ENOMEM; }
size_t malloc_usable_size(void *p) { return p ? ((Header *)((char *)p - HEADER))->size : 0; }
