/* What all drivers share: failing loudly, a deterministic random source, blocks with a pattern, and resident memory.
 * Nothing here allocates by itself, so that the drivers decide what the allocator sees. */
#ifndef DRIVER_SUPPORT_H
#define DRIVER_SUPPORT_H
#include "allocator.h"
#include <stdatomic.h>
#include <stdio.h>

/* A check that is always compiled in: names the place, the values and the thread's seed, then aborts. */
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) driver_fail(__FILE__, __LINE__, #condition, __VA_ARGS__);                                    \
    } while (0)
_Noreturn void driver_fail(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Ends the program unless the allocator under test is the one that serves it. */
void driver_open(void);

/* ---- random numbers: splitmix64, so that a seed names a run */
typedef struct { uint64_t state; } Random;
static inline uint64_t random_next(Random *r) {
    uint64_t z = (r->state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static inline uint64_t random_below(Random *r, uint64_t n) { return random_next(r) % n; }

/* ---- a block: filled with a pattern that follows from its address and size, so that a block handed out twice, moved
 * wrongly or written to by the allocator does not check out. The descriptor lives elsewhere. */
typedef struct Block {
    unsigned char *p;
    size_t size;       /* bytes with the pattern */
    size_t requested;  /* as given to the call; SIZE_MAX when free_sized may not be told (C23 7.24.3.4: malloc family only) */
    size_t alignment;  /* of aligned_alloc; 0 for other calls */
    uint64_t stamp;    /* what the pattern follows from */
} Block;

enum { SIZE_SMALL = 1024, SIZE_CLASS = 32768, SIZE_LARGE = 4 << 20, ENTRY_POINTS = 9 };

void block_fill(Block *b);
void block_check(const Block *b, size_t bytes, const char *when); /* the first `bytes` of the pattern */

/* A block by a random entry point, its promises (alignment, zeros, usable size) checked, and filled. */
void block_new(Block *b, Random *r, size_t most);
void block_new_by(Block *b, Random *r, int entry_point, size_t size, size_t alignment);
/* Check, then resize by realloc or reallocarray, check what must be kept, and fill anew. */
void block_resize(Block *b, Random *r, size_t size);
/* Check, then free by a random call. */
void block_free(Block *b, Random *r);
/* Sizes: mostly small, every class, some large; `most` bounds them. */
size_t size_random(Random *r, size_t most);

/* Resident bytes of this process now. */
size_t resident_bytes(void);
/* Wait for a child for at most `seconds`; its wait status. Kills it and fails when it takes longer: a deadlock. */
int child_wait(int pid, int seconds);
#endif
