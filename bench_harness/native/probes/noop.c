/* The no-op allocator: what a cell costs when malloc and free cost nothing. Its row is the loop overhead.
 *
 * malloc cuts from a ring that wraps around, so blocks overlap: a workload must keep nothing in its blocks.
 * calloc never wraps, because libc keeps its thread vectors in such blocks. */
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

static char rings[RINGS][RING] __attribute__((aligned(4096)));
static int turn;
static __thread char *at, *end, *ring;

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

void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return map(n * m + 1); }
void *realloc(void *p, size_t n) { (void)p; return malloc(n); }      /* the contents are not kept */
void *memalign(size_t a, size_t n) { char *p = malloc(n + a); return p ? (void *)(((uintptr_t)p + a - 1) & ~(a - 1)) : 0; }
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n) { *out = memalign(a, n); return *out ? 0 : ENOMEM; }
size_t malloc_usable_size(void *p) { (void)p; return 0; }
