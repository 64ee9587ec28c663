/* What C11, C23 and POSIX say about the calls, one function per clause: `semantics CLAUSE`. */
#include "support.h"
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { CLASSES_MOST = 128 };
static size_t classes[CLASSES_MOST + 1]; /* block sizes of the small classes, found from outside; then a large size */
static int class_count;

/* Ask for one byte more than each class holds: malloc_usable_size names the next. */
static void classes_find(void) {
    size_t size = 1;
    while (size <= SIZE_CLASS) {
        void *p = A(malloc)(size);
        CHECK(p != NULL && class_count < CLASSES_MOST, "%d classes", class_count);
        classes[class_count++] = A(malloc_usable_size)(p);
        size = A(malloc_usable_size)(p) + 1;
        A(free)(p);
    }
    CHECK(class_count > 20 && classes[0] == 16 && classes[class_count - 1] == SIZE_CLASS, "%d classes up to %zu",
          class_count, classes[class_count - 1]);
}

static void zero_sizes(void) {
    /* C11 7.22.3: a null pointer, or one as if the size were some nonzero value. Programs on Linux expect the latter,
     * each different from every other live block. */
    void *p[64];
    int i, j, n = 0;
    size_t alignment;
    p[n++] = A(malloc)(0);
    p[n++] = A(malloc)(0);
    p[n++] = A(calloc)(0, 8);
    p[n++] = A(calloc)(8, 0);
    p[n++] = A(calloc)(0, SIZE_MAX);
    p[n++] = A(realloc)(NULL, 0);
    p[n++] = A(reallocarray)(NULL, 0, 8);
    p[n++] = A(reallocarray)(NULL, SIZE_MAX, 0);
    p[n++] = A(valloc)(0);
    p[n++] = A(pvalloc)(0);
    for (alignment = 8; alignment <= SIZE_LARGE; alignment *= 4) {
        CHECK(A(posix_memalign)(&p[n], alignment, 0) == 0, "%zu", alignment);
        CHECK((uintptr_t)p[n++] % alignment == 0, "%zu", alignment);
        p[n++] = A(aligned_alloc)(alignment, 0);
        p[n++] = A(memalign)(alignment, 0);
    }
    for (i = 0; i < n; i++) {
        CHECK(p[i] != NULL, "call %d", i);
        for (j = 0; j < i; j++) CHECK(p[i] != p[j], "calls %d and %d share %p", i, j, p[i]);
        memset(p[i], i, A(malloc_usable_size)(p[i]));
    }
    for (i = 0; i < n; i++) {
        size_t byte;
        for (byte = 0; byte < A(malloc_usable_size)(p[i]); byte++)
            CHECK(((unsigned char *)p[i])[byte] == i, "call %d overlaps another", i);
    }
    for (i = 0; i < n; i++) A(free)(p[i]);
}

/* Whatever `call` is: NULL and ENOMEM. */
#define NO_MEMORY(call)                                                                                                \
    do {                                                                                                               \
        void *result_;                                                                                                 \
        errno = 0;                                                                                                     \
        result_ = (call);                                                                                              \
        CHECK(result_ == NULL && errno == ENOMEM, "%s: %p, errno %d", #call, result_, errno);                          \
    } while (0)

static void no_memory(void) {
    /* More than PTRDIFF_MAX bytes can never be an object; products that wrap are more than SIZE_MAX. */
    volatile size_t huge[] = {(size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 65536, SIZE_MAX - 4096,
                              SIZE_MAX - 4095, SIZE_MAX - 15, SIZE_MAX - 1, SIZE_MAX};
    const size_t old_sizes[] = {1, 100, 5000, 32768, 32769, 500000, 3000000};
    Random r = {1};
    size_t i, k, alignment;
    for (i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        size_t n = huge[i];
        NO_MEMORY(A(malloc)(n));
        NO_MEMORY(A(calloc)(1, n));
        NO_MEMORY(A(calloc)(n, 1));
        NO_MEMORY(A(realloc)(NULL, n));
        NO_MEMORY(A(reallocarray)(NULL, n, 1));
        NO_MEMORY(A(valloc)(n));
        NO_MEMORY(A(pvalloc)(n));
        for (alignment = 1; alignment; alignment *= 2) {
            void *result = &r;
            if (alignment <= PTRDIFF_MAX) NO_MEMORY(A(memalign)(alignment, n));
            NO_MEMORY(A(aligned_alloc)(alignment, n));
            if (alignment < sizeof(void *)) continue;
            errno = 77;
            CHECK(A(posix_memalign)(&result, alignment, n) == ENOMEM, "%zu at %zu", n, alignment);
            CHECK(result == (void *)&r && errno == ENOMEM, "posix_memalign(%zu, %zu): %p, errno %d", alignment, n, result, errno);
        }
    }
    /* Alignments that no address space can satisfy, and the wrap of size + alignment. */
    for (alignment = (size_t)1 << 48; alignment <= PTRDIFF_MAX; alignment *= 2) {
        NO_MEMORY(A(memalign)(alignment, 1));
        NO_MEMORY(A(memalign)(alignment, 40000));
        NO_MEMORY(A(memalign)(alignment, SIZE_MAX - alignment + 2));
    }
    for (k = 1; k < 64; k++) {
        volatile size_t a = (size_t)1 << k, b = SIZE_MAX / a + 1;
        NO_MEMORY(A(calloc)(a, b));
        NO_MEMORY(A(calloc)(b, a));
        NO_MEMORY(A(calloc)(a + 1, b));
    }
    /* Failing to resize leaves the block as it is, whatever kind of block. */
    for (k = 0; k < sizeof old_sizes / sizeof old_sizes[0]; k++) {
        Block b;
        block_new_by(&b, &r, 0, old_sizes[k], 1);
        if (k == 6) block_resize(&b, &r, 20000000); /* perhaps a mapping of its own by now */
        for (i = 0; i < sizeof huge / sizeof huge[0]; i++) {
            NO_MEMORY(A(realloc)(b.p, huge[i]));
            NO_MEMORY(A(reallocarray)(b.p, huge[i], 1));
            NO_MEMORY(A(reallocarray)(b.p, SIZE_MAX / 2, 3));
            NO_MEMORY(A(reallocarray)(b.p, (size_t)1 << 32, (size_t)1 << 32));
            block_check(&b, b.size, "after a realloc that failed");
        }
        block_free(&b, &r);
    }
}

static void invalid(void) {
    /* posix_memalign: a power of two multiple of sizeof(void *), else EINVAL; the result and errno are left alone. */
    const size_t bad[] = {0, 1, 2, 3, 4, 5, 7, 9, 12, 24, 40, 48, 100, 4095, 4097, 65537, (size_t)3 << 40, SIZE_MAX};
    size_t i, alignment;
    void *mark = (void *)&i, *result;
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        result = mark;
        errno = 77;
        CHECK(A(posix_memalign)(&result, bad[i], 64) == EINVAL, "%zu", bad[i]);
        CHECK(result == mark && errno == 77, "posix_memalign(%zu): %p, errno %d", bad[i], result, errno);
        if (bad[i] && (bad[i] & (bad[i] - 1)) == 0) continue; /* 1, 2, 4 are good for the others */
        errno = 0;
        CHECK(A(aligned_alloc)(bad[i], 64) == NULL && errno == EINVAL, "aligned_alloc(%zu): errno %d", bad[i], errno);
    }
    /* memalign rounds up to a power of two, as glibc does; only what has none above it is invalid. */
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t power = sizeof(void *);
        if (bad[i] > ((size_t)1 << 30)) continue;
        while (power < bad[i]) power *= 2;
        result = A(memalign)(bad[i], 64);
        CHECK(result != NULL && ((size_t)result & (power - 1)) == 0, "memalign(%zu): %p", bad[i], result);
        A(free)(result);
    }
    errno = 0;
    CHECK(A(memalign)(SIZE_MAX, 64) == NULL && errno == EINVAL, "memalign(SIZE_MAX): errno %d", errno);
    for (alignment = sizeof(void *); alignment <= SIZE_LARGE; alignment *= 2) {
        errno = 77;
        CHECK(A(posix_memalign)(&result, alignment, 100) == 0 && errno == 77, "%zu: errno %d", alignment, errno);
        A(free)(result);
    }
}

static void *errno_thread(void *argument) {
    void **p = argument;
    int i;
    for (i = 0; i < 2000; i++) {
        errno = 1 + i % 100;
        A(free)(p[i]);
        CHECK(errno == 1 + i % 100, "free of another thread's block, errno %d", errno);
    }
    return NULL;
}

static void errno_kept(void) {
    /* POSIX 2024: free keeps errno. Small, large and own mappings; enough of them to reach every slow path. */
    static void *p[2000];
    const size_t sizes[] = {1, 200, 3000, 32768, 32769, 300000, 3000000};
    pthread_t t;
    size_t k, i;
    errno = 5;
    A(free)(NULL);
    CHECK(errno == 5, "errno %d", errno);
    for (k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        size_t count = sizes[k] > 100000 ? 50 : 2000;
        for (i = 0; i < count; i++) {
            p[i] = A(malloc)(sizes[k]);
            if (sizes[k] > 1000000) p[i] = A(realloc)(p[i], 2 * sizes[k]);
            CHECK(p[i] != NULL, "%zu", sizes[k]);
            *(char *)p[i] = 1;
        }
        for (i = 0; i < count; i++) {
            errno = 1 + (int)i % 100;
            A(free)(p[i]);
            CHECK(errno == 1 + (int)i % 100, "free of %zu bytes: errno %d", sizes[k], errno);
        }
    }
    for (i = 0; i < 2000; i++) p[i] = A(malloc)(i * 40);
    CHECK(pthread_create(&t, NULL, errno_thread, p) == 0 && pthread_join(t, NULL) == 0, "thread");
}

static void calloc_zeroes(void) {
    /* Dirty every block that calloc could get, then look at what it gives: in every class, and for large blocks of
     * every number of slices up to two segments, with and without a purge in between. */
    enum { LIVE = 300 };
    static unsigned char *p[LIVE];
    int c, i, count, pass;
    size_t size, n;
    for (pass = 0; pass < 3; pass++)
        for (c = 0; c < class_count + 130; c++) {
            size = c < class_count ? classes[c] - (size_t)(pass % 2) : (size_t)(c - class_count + 1) * SIZE_CLASS + (size_t)pass * 40 + 1;
            count = size < 1000 ? LIVE : size <= SIZE_CLASS ? 40 : 3;
            for (i = 0; i < count; i++) {
                p[i] = A(malloc)(size);
                CHECK(p[i] != NULL, "%zu", size);
                memset(p[i], 0xFF, A(malloc_usable_size)(p[i]));
            }
            for (i = 0; i < count; i++) A(free)(p[(i * 7) % count]);
            if (pass == 2) A(malloc_trim)(0);
            for (i = 0; i < count; i++) {
                p[i] = i % 2 ? A(calloc)(1, size) : A(calloc)(size, 1);
                CHECK(p[i] != NULL, "%zu", size);
                for (n = 0; n < size; n++)
                    CHECK(p[i][n] == 0, "calloc of %zu bytes, pass %d: byte %zu of %p is %#x", size, pass, n, (void *)p[i], p[i][n]);
                memset(p[i], 0xEE, A(malloc_usable_size)(p[i]));
            }
            for (i = 0; i < count; i++) A(free)(p[i]);
        }
    /* Blocks whose tail or head was given back by a resize or an alignment. */
    for (i = 0; i < 40; i++) {
        unsigned char *a = A(malloc)(1000000), *b = A(memalign)(1 << 18, 200000);
        CHECK(a != NULL && b != NULL, "%d", i);
        memset(a, 0xFF, 1000000);
        memset(b, 0xFF, 200000);
        a = A(realloc)(a, 300000);
        CHECK(a != NULL, "shrink");
        p[0] = A(calloc)(1, 600000);
        CHECK(p[0] != NULL, "calloc");
        for (n = 0; n < 600000; n++) CHECK(p[0][n] == 0, "calloc behind a shrunk block: byte %zu", n);
        A(free)(b);
        A(free)(a);
        A(free)(p[0]);
    }
    p[0] = A(calloc)(1, 300u << 20);
    CHECK(p[0] != NULL, "300 MiB");
    for (n = 0; n < 300u << 20; n += 4096) CHECK(p[0][n] == 0, "byte %zu of 300 MiB", n);
    A(free)(p[0]);
}

static void calloc_across_segments(void) {
    /* Free runs of four slices over the border of two segments, their first half clean and their second half dirty: a
     * span in such a place is only known to be zero if both segments were asked. */
    enum { PAIRS = 640, SLICES = 2, PAIR_BYTES = SLICES * SIZE_CLASS, OBJECT = 8192, OBJECTS = 16 };
    static char *p[PAIRS], *second[PAIRS];
    static unsigned char *object[PAIRS * OBJECTS];
    const uintptr_t segment = 64 * SIZE_CLASS;
    int i, k, borders = 0, across = 0, count;
    size_t n;
    for (i = 0; i < PAIRS; i++) CHECK((p[i] = A(malloc)(PAIR_BYTES)) != NULL, "%d", i);
    for (i = 0; i < PAIRS; i++) memset(p[i], 0xFF, PAIR_BYTES);
    for (i = 0; i < PAIRS; i++)
        for (k = 0; k < PAIRS; k++)
            if (p[i] && p[k] && p[k] == p[i] + PAIR_BYTES && (uintptr_t)p[k] % segment == 0) {
                second[borders++] = p[k];
                A(free)(p[i]);
                p[i] = p[k] = NULL;
            }
    CHECK(borders >= 4, "only %d borders among %d blocks", borders, PAIRS);
    A(malloc_trim)(0);
    for (i = 0; i < borders; i++) A(free)(second[i]);
    /* Use up what else is free, until a span lies over one of the borders, and then some. */
    for (count = 0; count < PAIRS * OBJECTS && across < 4 * OBJECTS; count++) {
        object[count] = A(calloc)(1, OBJECT);
        CHECK(object[count] != NULL, "%d", count);
        for (n = 0; n < OBJECT; n++)
            CHECK(object[count][n] == 0, "byte %zu of %p is %#x", n, (void *)object[count], object[count][n]);
        for (k = 0; k < borders; k++)
            across += object[count] + PAIR_BYTES >= (unsigned char *)second[k] &&
                      object[count] < (unsigned char *)second[k] + PAIR_BYTES;
    }
    CHECK(across > 0, "no span of %d came to lie over a border: this checks nothing", count / OBJECTS);
    for (i = 0; i < count; i++) A(free)(object[i]);
    for (i = 0; i < PAIRS; i++) A(free)(p[i]);
}

/* Keep the last blocks live and patterned, so that an overlap shows. */
enum { WINDOW = 64 };
static Block window[WINDOW];
static void window_add(Random *r, long i, int entry_point, size_t size, size_t alignment) {
    Block *b = &window[i % WINDOW];
    if (b->p) block_free(b, r);
    block_new_by(b, r, entry_point, size, alignment);
}
static void window_end(Random *r) {
    for (int i = 0; i < WINDOW; i++)
        if (window[i].p) block_free(&window[i], r);
}

static void alignments(void) {
    /* Every class boundary and its neighbours, and every size in steps, at every alignment a class could serve; then
     * large alignments at large sizes. block_new_by checks the address and the usable size. */
    Random r = {2};
    long i = 0;
    int c, d;
    size_t alignment, size;
    for (alignment = 1; alignment <= SIZE_CLASS; alignment *= 2) {
        for (c = 0; c < class_count; c++)
            for (d = -1; d <= 1; d++) window_add(&r, i, 2 + (int)(i % 3), classes[c] + (size_t)d, alignment), i++;
        for (size = 0; size <= SIZE_CLASS; size += size < 512 ? 1 : 61) window_add(&r, i, 2 + (int)(i % 3), size, alignment), i++;
    }
    for (alignment = SIZE_CLASS; alignment <= SIZE_LARGE; alignment *= 2)
        for (size = 1; size <= 2 * SIZE_LARGE; size = size * 3 + 1) window_add(&r, i, 2 + (int)(i % 3), size, alignment), i++;
    window_end(&r);
    for (alignment = 8 << 20; alignment <= (size_t)1 << 30; alignment *= 2) {
        Block b;
        block_new_by(&b, &r, 4, 100000, alignment);
        block_free(&b, &r);
    }
    for (size = 0; size < 70000; size += 97) {
        window_add(&r, i, 7, size, 1), i++;
        window_add(&r, i, 8, size, 1), i++;
        CHECK(A(malloc_usable_size)(window[(i - 1) % WINDOW].p) >= (size + 4095) / 4096 * 4096, "pvalloc(%zu)", size);
    }
    window_end(&r);
}

static void usable(void) {
    /* All of it may be used (the pattern goes to its end, see block_new_by), and every request up to it stays put. */
    Random r = {3};
    long i;
    size_t size;
    /* Above 256 bytes at most 1/9 of a small block is waste (design.md, 12); another table has another bound. */
    const char *bound = getenv("DRIVER_WASTE");
    const double waste = bound ? atof(bound) : 0.1112;
    CHECK(A(malloc_usable_size)(NULL) == 0, "of NULL");
    for (i = 0, size = 0; size < 100000; size += size < 33000 ? 1 : 333, i++) {
        Block *b = &window[i % WINDOW];
        window_add(&r, i, 0, size, 1);
        b->size = A(malloc_usable_size)(b->p);
        block_fill(b);
        if (size > 256 && size <= SIZE_CLASS)
            CHECK((double)(b->size - size) / (double)b->size <= waste, "%zu bytes in %zu", size, b->size);
    }
    window_end(&r);
}

static void resizing(void) {
    /* Any size to any other keeps the common part: all pairs of interesting sizes, in place or not. */
    const size_t sizes[] = {1, 15, 16, 17, 64, 65, 255, 1000, 4096, 30000, 32768, 32769, 65536, 65537, 200000, 1 << 20,
                            (1 << 20) + 1, 3 << 20, 9 << 20, 20 << 20};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    Random r = {4};
    size_t i, k;
    Block b;
    for (i = 0; i < SIZES; i++)
        for (k = 0; k < SIZES; k++) {
            window_add(&r, (long)(i * SIZES + k), 0, sizes[(i + k) % 12], 1); /* neighbours move about */
            block_new_by(&b, &r, (int)((i + k) % ENTRY_POINTS), sizes[i], 64);
            block_resize(&b, &r, sizes[k]);
            block_resize(&b, &r, sizes[(k * 7 + i) % SIZES]);
            block_free(&b, &r);
        }
    window_end(&r);
    for (i = 0; i < class_count * 2u; i++) {
        size_t from = classes[i % (size_t)class_count], to = classes[(i * 31 + 7) % (size_t)class_count];
        block_new_by(&b, &r, 0, from, 1);
        block_resize(&b, &r, to + i % 2);
        block_free(&b, &r);
    }
}

static void trimming(void) {
    enum { COUNT = 20000, BYTES = 4000 };
    static void *p[COUNT];
    size_t full, empty;
    int i, gave;
    for (i = 0; i < COUNT; i++) {
        p[i] = A(malloc)(BYTES);
        CHECK(p[i] != NULL, "%d", i);
        memset(p[i], 1, BYTES);
    }
    full = resident_bytes();
    for (i = 0; i < COUNT; i++) A(free)(p[i]);
    gave = A(malloc_trim)(0);
    empty = resident_bytes();
    CHECK(gave == 1 || empty + COUNT / 2 * BYTES < full, "malloc_trim gave nothing");
    CHECK(empty + (size_t)COUNT * BYTES * 9 / 10 < full, "of %d KiB freed, RSS fell from %zu to %zu KiB",
          COUNT * BYTES / 1024, full >> 10, empty >> 10);
    CHECK(A(malloc_trim)(0) == 0, "a second malloc_trim claims to have given something");
}

/* Whether a freed block is among the next ones; they stay. (What goes home in company goes at the latest by malloc_trim.) */
static int comes_back(const void *p, size_t alignment, size_t bytes) {
    int i;
    A(malloc_trim)(0);
    for (i = 0; i < 2000; i++)
        if ((alignment ? A(aligned_alloc)(alignment, bytes) : A(malloc)(bytes)) == p) return 1;
    return 0;
}

static void family(void) {
    /* The C23 and old names. */
    void *p;
    a_cfree(NULL);
    a_free_sized(NULL, 0);
    a_free_aligned_sized(NULL, 64, 0);
    A(free)(NULL);
    p = A(malloc)(100);
    CHECK(A(malloc)(100) && A(aligned_alloc)(256, 512), "neighbours, so that the spans stay");
    a_cfree(p);
    CHECK(comes_back(p, 0, 100), "cfree frees: the same block comes back");
    a_free_sized(p, 100);
    CHECK(comes_back(p, 0, 100), "free_sized frees");
    p = A(aligned_alloc)(256, 512);
    a_free_aligned_sized(p, 256, 512);
    CHECK(comes_back(p, 256, 512), "free_aligned_sized frees");
    CHECK(A(realloc)(p, 0) == NULL, "realloc(p, 0)");
    CHECK(comes_back(p, 256, 512), "realloc(p, 0) frees");
    A(free)(p);
    p = A(malloc)(1000000);
    a_free_sized(p, 1000000);
    p = A(aligned_alloc)(1 << 20, 1000000);
    a_free_aligned_sized(p, 1 << 20, 1000000);
}

static const struct { const char *name; void (*clause)(void); } clauses[] = {
    {"zero_sizes", zero_sizes}, {"no_memory", no_memory},   {"invalid", invalid}, {"errno_kept", errno_kept},
    {"calloc_zeroes", calloc_zeroes},
    {"calloc_across_segments", calloc_across_segments}, {"alignments", alignments}, {"usable", usable},   {"resizing", resizing},
    {"trimming", trimming},     {"family", family},
};

int main(int count, char **words) {
    size_t i;
    driver_open();
    if (count == 2 && strcmp(words[1], "list") == 0) {
        for (i = 0; i < sizeof clauses / sizeof clauses[0]; i++) puts(clauses[i].name);
        return 0;
    }
    classes_find();
    for (i = 0; count == 2 && i < sizeof clauses / sizeof clauses[0]; i++)
        if (strcmp(clauses[i].name, words[1]) == 0) {
            clauses[i].clause();
            printf("%s: fine\n", words[1]);
            return 0;
        }
    CHECK(0, "usage: %s CLAUSE", words[0]);
}
