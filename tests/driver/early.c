/* Calls of the allocator before anybody's constructor, and what the loader and the C library hand out beside it:
 *     constructors       blocks from a resolver of an indirect function, .preinit_array and constructors live until main
 *     usable             what malloc_usable_size says holds after realloc to it: _FORTIFY_SOURCE=3 compares the two
 *     rseq HOW           the C library's registration of restartable sequences: `kept`, or `off` by GLIBC_TUNABLES
 * The same file is a library that does so in front of a program (EARLY_LIBRARY), with its resolver or without
 * (EARLY_NO_RESOLVER), and an audit library (EARLY_AUDIT). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEPT = 64, MOST = 70000 };
static struct { unsigned char *p; size_t size; unsigned char stamp; } kept[KEPT];
static int count, moments;

static void fail(const char *what) {
    if (write(2, what, strlen(what)) < 0) _exit(98);
    abort();
}

static void keep(void *p, size_t size) {
    if (p == NULL || ((uintptr_t)p & 15) != 0) fail("no block, or not aligned\n");
    kept[count].p = p;
    kept[count].size = size;
    kept[count].stamp = (unsigned char)(count * 7 + 1);
    memset(p, kept[count].stamp, size);
    count++;
}

/* Free before anything was allocated, then every call, small and large; some blocks stay. */
static void moment(void) {
    static const size_t sizes[] = {1, 24, 500, 40000, MOST};
    unsigned char *zeroed;
    void *p = NULL;
    moments++;
    free(NULL);
    if (malloc_usable_size(NULL) != 0) fail("usable size of NULL\n");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        keep(malloc(sizes[i]), sizes[i]);
        zeroed = calloc(3, sizes[i]);
        for (size_t j = 0; j < 3 * sizes[i]; j++)
            if (zeroed[j]) fail("calloc is not zero\n");
        free(zeroed);
    }
    p = realloc(NULL, 100);
    keep(realloc(p, 5000), 5000);
    if (posix_memalign(&p, 256, 300) != 0 || ((uintptr_t)p & 255) != 0) fail("posix_memalign\n");
    keep(p, 300);
    free(malloc(77));
}

static int check_kept(void) {
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < kept[i].size; j++)
            if (kept[i].p[j] != kept[i].stamp) fail("a block from before main is damaged\n");
        free(kept[i].p);
    }
    return moments;
}

#ifndef EARLY_AUDIT
__attribute__((constructor(101))) static void first_constructor(void) { moment(); }
__attribute__((constructor)) static void plain_constructor(void) { moment(); }
#if defined __GLIBC__ && !defined EARLY_NO_RESOLVER
enum { RESOLVED = 1 };
static int one(void) { return 1; }
static int (*resolve(void))(void) { moment(); return one; }
#ifdef EARLY_LIBRARY
int library_indirect(void) __attribute__((ifunc("resolve")));
int library_calls(void) { return library_indirect(); }
#else
int program_indirect(void) __attribute__((ifunc("resolve")));
#endif
#else
enum { RESOLVED = 0 };
#endif
#endif

#ifdef EARLY_AUDIT
#include <link.h>
unsigned la_version(unsigned version) { return moment(), version; }
unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
    (void)map, (void)space, (void)cookie;
    free(strdup("an object"));
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
uintptr_t la_symbind64(ElfW(Sym) *symbol, unsigned index, uintptr_t *from, uintptr_t *to, unsigned *flags, const char *name) {
    (void)index, (void)from, (void)to, (void)flags;
    free(strdup(name));
    return symbol->st_value;
}
void la_preinit(uintptr_t *cookie) { (void)cookie, check_kept(); }
#elif defined EARLY_LIBRARY
__attribute__((destructor)) static void last(void) {
    char text[40];
    int length = snprintf(text, sizeof text, "library: %d moments\n", check_kept());
    if (write(1, text, (size_t)length) < 0) _exit(98);
}
#else
__attribute__((section(".preinit_array"), used)) static void (*preinit)(void) = moment;

static int mode_constructors(void) {
#if defined __GLIBC__
    if (program_indirect() != 1) fail("indirect function\n");
#endif
    /* musl runs no .preinit_array. */
    return check_kept() >= 2 + RESOLVED;
}

static int mode_usable(void) {
    for (size_t n = 1; n < 300000; n += n < 5000 ? 1 : 997) {
        char *p = malloc(n), *q;
        size_t usable = malloc_usable_size(p);
        q = realloc(p, usable);
        if (malloc_usable_size(q) != usable) fail("realloc to the usable size changes it\n");
        memset(q, 1, malloc_usable_size(q)); /* the compiler knows q has `usable` bytes */
        free(q);
    }
    return 1;
}

extern const unsigned __rseq_size __attribute__((weak));
extern const ptrdiff_t __rseq_offset __attribute__((weak));
static int mode_rseq(const char *how) {
    uint32_t cpu;
    if (&__rseq_size == NULL) return 1;
    free(malloc(10));
    if (strcmp(how, "off") == 0) return __rseq_size == 0;
    memcpy(&cpu, (char *)__builtin_thread_pointer() + __rseq_offset + 4, sizeof cpu);
    return __rseq_size > 0 && (int32_t)cpu >= 0;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "constructors";
    int good = strcmp(mode, "usable") == 0 ? mode_usable()
               : strcmp(mode, "rseq") == 0 ? mode_rseq(argc > 2 ? argv[2] : "kept")
                                           : mode_constructors();
    if (!good) fail("not so\n");
    printf("%s: fine\n", mode);
    return 0;
}
#endif
