/* The no-op allocator: what a cell costs when malloc and free cost nothing. Its row is the loop overhead.
 *
 * malloc cuts from a ring that wraps around, so blocks overlap: a workload must keep nothing in its blocks.
 * calloc's blocks do not, because libc keeps its thread vectors in them: they come from lists of the thread's freed
 * ones, or fresh from a region, and large ones from the kernel. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define RING ((size_t)1 << 18)         /* bytes; stays in the L2 cache */
#define LONGEST (RING / 2)             /* bytes; all larger blocks are one and the same region */
#define REGION ((size_t)1 << 30)       /* bytes reserved for it */
#define RINGS 64                       /* handed to threads in turn, so that short threads fault in none */

const char bench_harness_blocks_overlap = 1;    /* workloads ask for this name: see blocks_overlap in system.h */

#define ZEROED ((size_t)1 << 36)       /* bytes of address space for the blocks of calloc */
#define CLASSES 17                     /* their sizes are powers of two, from 16 bytes */

typedef struct Zeroed { struct Zeroed *next; size_t class; } Zeroed;

static char rings[RINGS][RING] __attribute__((aligned(4096)));
static int turn;
static __thread char *at, *end, *ring;
static char *zeroed;
static size_t zeroed_used;
static __thread Zeroed *freed[CLASSES];

static void *map(size_t n) {
    void *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? 0 : p;
}

static __attribute__((noinline)) void *slow(size_t n) {
    static char *region;
    if (n > LONGEST) {
        char *r = __atomic_load_n(&region, __ATOMIC_ACQUIRE);
        if (!r) {
            r = map(REGION);
            __atomic_store_n(&region, r, __ATOMIC_RELEASE);     /* a second one, made at once, is only lost */
        }
        return n <= REGION ? r : 0;
    }
    if (!ring) ring = rings[__atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED) % RINGS];
    at = ring + ((n + 15) & ~(size_t)15);
    end = ring + RING;
    return ring;
}

void *malloc(size_t n) {
    char *p = at;
    if (__builtin_expect(n > (size_t)(end - p) || n > LONGEST, 0)) return slow(n);
    at = p + ((n + 15) & ~(size_t)15);
    return p;
}

static Zeroed *zeroed_of(void *p) {
    char *base = __atomic_load_n(&zeroed, __ATOMIC_RELAXED);
    return (size_t)((char *)p - base) < ZEROED && base ? (Zeroed *)p - 1 : 0;
}

void free(void *p) {
    Zeroed *z = zeroed_of(p);
    if (!z) return;
    z->next = freed[z->class];
    freed[z->class] = z;
}

void *calloc(size_t n, size_t m) {
    size_t bytes = n * m, class = bytes <= 16 ? 0 : (size_t)(60 - __builtin_clzl(bytes - 1));
    Zeroed *z;
    if (class >= CLASSES) return map(bytes);    /* never given back: few ask for so much */
    z = freed[class];
    if (z) {
        freed[class] = z->next;
        return memset(z + 1, 0, bytes);
    }
    if (!__atomic_load_n(&zeroed, __ATOMIC_ACQUIRE)) {
        char *none = 0, *base = map(ZEROED);
        __atomic_compare_exchange_n(&zeroed, &none, base, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    z = (Zeroed *)(zeroed + __atomic_fetch_add(&zeroed_used, ((size_t)16 << class) + sizeof *z, __ATOMIC_RELAXED));
    z->class = class;
    return z + 1;
}
void *realloc(void *p, size_t n) { (void)p; return malloc(n); }      /* the contents are not kept */
void *memalign(size_t a, size_t n) { char *p = malloc(n + a); return p ? (void *)(((uintptr_t)p + a - 1) & ~(a - 1)) : 0; }
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n) { *out = memalign(a, n); return *out ? 0 : ENOMEM; }
size_t malloc_usable_size(void *p) { (void)p; return 0; }
