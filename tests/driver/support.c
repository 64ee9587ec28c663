#include "support.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

_Noreturn void driver_fail(const char *file, int line, const char *condition, const char *format, ...) {
    char text[600];
    int n = snprintf(text, sizeof text, "FAILED %s:%d: %s: ", file, line, condition);
    va_list values;
    va_start(values, format);
    vsnprintf(text + n, sizeof text - (size_t)n - 1, format, values);
    va_end(values);
    strcat(text, "\n");
    if (write(2, text, strlen(text)) < 0) _exit(98);
    abort();
}

#ifndef RT_DRIVER_PREFIXED
void *a_symbol(const char *name) {
    void *f = dlsym(RTLD_DEFAULT, name);
    CHECK(f != NULL, "%s is not exported", name);
    return f;
}
#endif

void driver_open(void) {
#ifndef RT_DRIVER_PREFIXED
    Dl_info who;
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &who) && strstr(who.dli_fname, "librtmalloc"),
          "malloc comes from %s: no preload?", who.dli_fname);
#endif
}

/* ---- the pattern: every word of a block up to 64 KiB, every 64th of a larger one; always the last bytes */
enum { DENSE_BYTES = 65536, SPARSE_STEP = 64 };

static uint64_t stamp_of(const void *p, size_t size) {
    Random r = {(uint64_t)(uintptr_t)p ^ (uint64_t)size * 0xD1B54A32D192ED03u};
    return random_next(&r);
}

static size_t step_of(size_t size) { return size <= DENSE_BYTES ? 1 : SPARSE_STEP; }

void block_fill(Block *b) {
    uint64_t stamp = b->stamp = stamp_of(b->p, b->size);
    size_t words = b->size / 8, step = step_of(b->size), i;
    for (i = 0; i < words; i += step) ((uint64_t *)b->p)[i] = stamp + i * 0x9E3779B97F4A7C15u;
    for (i = words * 8; i < b->size; i++) b->p[i] = (unsigned char)(stamp + i);
}

void block_check(const Block *b, size_t bytes, const char *when) {
    size_t words = b->size / 8, step = step_of(b->size), i;
    for (i = 0; i < words && i * 8 + 8 <= bytes; i += step)
        CHECK(((uint64_t *)b->p)[i] == b->stamp + i * 0x9E3779B97F4A7C15u,
              "%s: block %p of %zu bytes is damaged at byte %zu: %#llx", when, (void *)b->p, b->size, i * 8,
              (unsigned long long)((uint64_t *)b->p)[i]);
    for (i = words * 8; i < b->size && i < bytes; i++)
        CHECK(b->p[i] == (unsigned char)(b->stamp + i), "%s: block %p of %zu bytes is damaged at byte %zu", when,
              (void *)b->p, b->size, i);
}

size_t size_random(Random *r, size_t most) {
    uint64_t kind = random_below(r, 64);
    size_t size;
    if (kind < 1) size = 0;
    else if (kind < 44) size = random_below(r, SIZE_SMALL) + 1;
    else if (kind < 58) size = random_below(r, 8192) + 1;
    else if (kind < 62) size = random_below(r, SIZE_CLASS + 4096) + 1;
    else if (kind < 63) size = random_below(r, 16 * SIZE_CLASS) + 1;
    else size = random_below(r, SIZE_LARGE) + 1;
    return size <= most ? size : random_below(r, most) + 1;
}

void block_new_by(Block *b, Random *r, int entry_point, size_t size, size_t alignment) {
    void *p = NULL;
    size_t i, least = 16;
    b->requested = size;
    b->alignment = 0;
    switch (entry_point) {
    case 0: p = A(malloc)(size); break;
    case 1: {
        size_t pieces = random_below(r, 8) + 1;
        p = A(calloc)(pieces, size / pieces);
        b->requested = size = size / pieces * pieces;
        CHECK(p != NULL, "calloc has no %zu bytes: errno %d", size, errno);
        for (i = 0; i < size; i++)
            CHECK(((unsigned char *)p)[i] == 0, "calloc: %p of %zu bytes is not zero at byte %zu", p, size, i);
        break;
    }
    case 2: p = A(aligned_alloc)(alignment, size); least = b->alignment = alignment; break;
    case 3: p = A(memalign)(alignment, size); least = alignment; b->requested = SIZE_MAX; break;
    case 4:
        if (alignment < sizeof(void *)) alignment = sizeof(void *);
        CHECK(A(posix_memalign)(&p, alignment, size) == 0, "%zu bytes at %zu", size, alignment);
        least = alignment;
        b->requested = SIZE_MAX;
        break;
    case 5: p = A(realloc)(NULL, size); break;
    case 6: p = A(reallocarray)(NULL, size, 1); break;
    case 7: p = A(valloc)(size); least = 4096; b->requested = SIZE_MAX; break;
    default: p = A(pvalloc)(size); least = 4096; b->requested = SIZE_MAX; break;
    }
    CHECK(p != NULL, "entry point %d has no %zu bytes at %zu: errno %d", entry_point, size, alignment, errno);
    CHECK(((uintptr_t)p & (least - 1)) == 0, "entry point %d: %p of %zu bytes is not aligned to %zu", entry_point, p,
          size, least);
    CHECK(A(malloc_usable_size)(p) >= size, "entry point %d: %p of %zu bytes has only %zu", entry_point, p, size,
          A(malloc_usable_size)(p));
    b->p = p;
    b->size = size;
    /* Now and then all that malloc_usable_size promises is used. */
    if (random_below(r, 4) == 0) b->size = A(malloc_usable_size)(p);
    block_fill(b);
}

void block_new(Block *b, Random *r, size_t most) {
    int entry_point = (int)random_below(r, 24);
    size_t alignment = 1, size = size_random(r, most);
    if (entry_point >= ENTRY_POINTS) entry_point = 0; /* malloc is most of what programs do */
    /* Large alignments reserve and release their multiple: rarely, like programs do. */
    if (entry_point >= 2 && entry_point <= 4) {
        uint64_t kind = random_below(r, 32);
        alignment = (size_t)1 << (kind < 24 ? random_below(r, 8) : kind < 31 ? random_below(r, 16) : random_below(r, 23));
        if (alignment > most && alignment > 64) alignment = 64;
    }
    block_new_by(b, r, entry_point, size, alignment);
}

void block_resize(Block *b, Random *r, size_t size) {
    size_t kept = b->size < size ? b->size : size;
    Block old = *b;
    block_check(b, b->size, "before realloc");
    if (size == 0) size = 1; /* realloc(p, 0) frees */
    b->p = random_below(r, 2) ? A(realloc)(b->p, size) : A(reallocarray)(b->p, 1, size);
    CHECK(b->p != NULL, "realloc(%p, %zu) from %zu", (void *)old.p, size, old.size);
    old.p = b->p;
    block_check(&old, kept, "after realloc");
    b->size = b->requested = size;
    b->alignment = 0;
    CHECK(A(malloc_usable_size)(b->p) >= size, "realloc: %zu < %zu", A(malloc_usable_size)(b->p), size);
    block_fill(b);
}

void block_free(Block *b, Random *r) {
    uint64_t kind = random_below(r, 16);
    int before = errno = (int)random_below(r, 90) + 1;
    block_check(b, b->size, "before free");
    if (kind == 0) a_cfree(b->p);
    else if (kind == 1 && b->requested != SIZE_MAX && b->alignment == 0) a_free_sized(b->p, b->requested);
    else if (kind == 1 && b->alignment) a_free_aligned_sized(b->p, b->alignment, b->requested);
    else if (kind == 2) CHECK(A(realloc)(b->p, 0) == NULL, "realloc(p, 0) frees");
    else A(free)(b->p);
    CHECK(errno == before, "free has changed errno from %d to %d", before, errno);
    b->p = NULL;
}

size_t resident_bytes(void) {
    char text[128] = {0};
    unsigned long total, resident;
    int file = open("/proc/self/statm", O_RDONLY);
    CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0, "no /proc");
    close(file);
    CHECK(sscanf(text, "%lu %lu", &total, &resident) == 2, "statm: %s", text);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

int child_wait(int pid, int seconds) {
    struct timespec nap = {0, 2000000};
    int status, i;
    for (i = 0; i < seconds * 500; i++) {
        int done = waitpid(pid, &status, WNOHANG);
        CHECK(done >= 0, "waitpid: %d", errno);
        if (done == pid) return status;
        nanosleep(&nap, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    CHECK(0, "child %d did not end within %d s: a deadlock", pid, seconds);
}
