/* The C library's inner names, its numbers, and the names of other allocators: every block may meet every free. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(c) ((c) ? (void)0 : (printf("line %d: %s\n", __LINE__, #c), exit(1)))
typedef long (*any)();
static any of(const char *name) {
    any f = (any)dlsym(RTLD_DEFAULT, name);
    if (!f) printf("%s is missing\n", name), exit(1);
    return f;
}
#define P(name, ...) ((char *)((void *(*)())of(name))(__VA_ARGS__))

static const char *const frees[] = {"free", "cfree", "__libc_free", "__libc_cfree", "vfree", "tc_free", "tc_cfree", "tc_delete",
                                    "tc_deletearray", "_ZdlPv", "_ZdaPv"};
static void meet(char *p, size_t bytes) {
    static unsigned turn;
    CHECK(p && malloc_usable_size(p) >= bytes);
    memset(p, 1, bytes);
    of(frees[turn++ % (sizeof frees / sizeof *frees)])(p);
}

int main(void) {
    size_t sizes[] = {1, 100, 5000, 40000, 3000000};
    struct mallinfo2 before, held, after;
    char *p, *q;
    for (int round = 0; round < 11; round++)
        for (int i = 0; i < 5; i++) {
            size_t n = sizes[i];
            meet(P("__libc_malloc", n), n);
            meet(P("__libc_calloc", (size_t)1, n), n);
            meet(P("__libc_realloc", malloc(10), n), n);
            meet(P("__libc_memalign", (size_t)4096, n), n);
            meet(P("__libc_valloc", n), n);
            meet(P("__libc_pvalloc", n), n);
            meet(P("reallocarray", malloc(3), n, (size_t)2), 2 * n);
            meet(P("reallocf", malloc(3), n), n);
            meet(P("mallocx", n, 0), n);
            p = P("mallocx", n, 7 | 64);
            CHECK((uintptr_t)p % 128 == 0 && p[0] == 0 && p[n - 1] == 0);
            p[n - 1] = 7;
            p = P("rallocx", p, 2 * n, 8 | 64);
            CHECK((uintptr_t)p % 256 == 0 && p[n - 1] == 7 && p[2 * n - 1] == 0);
            CHECK((size_t)of("sallocx")(p, 0) >= 2 * n && (size_t)of("nallocx")(n, 0) >= n);
            CHECK((size_t)of("xallocx")(p, n, (size_t)0, 0) >= n);
            of(i & 1 ? "dallocx" : "sdallocx")(p, i & 1 ? 0 : 2 * n, 0);
            meet(P("tc_malloc", n), n);
            meet(P("tc_calloc", (size_t)1, n), n);
            meet(P("tc_realloc", malloc(1), n), n);
            meet(P("tc_memalign", (size_t)64, n), n);
            meet(P("tc_new", n), n);
            meet(P("tc_newarray_nothrow", n, NULL), n);
            meet(P("tc_new_aligned", n, (size_t)64), n);
            CHECK((size_t)of("malloc_good_size")(n) >= n);
            q = malloc(n);
            CHECK(of("reallocarr")(&q, n, (size_t)3) == 0 && malloc_usable_size(q) >= 3 * n);
            CHECK(of("reallocarr")(&q, SIZE_MAX, (size_t)3) == EOVERFLOW);
            meet(q, 3 * n);
        }
    errno = 0;
    CHECK(posix_memalign((void **)&q, 64, (size_t)1 << 62) == ENOMEM && errno == ENOMEM);
    /* Numbers that follow what the program does. */
    memset(malloc(50000), 1, 50000);
    before = mallinfo2();
    p = malloc(8 << 20);
    memset(p, 1, 8 << 20);
    held = mallinfo2();
    free(p);
    after = mallinfo2();
    CHECK(before.uordblks > 0 && before.arena == before.uordblks + before.fordblks);
    CHECK(held.uordblks + held.hblkhd >= before.uordblks + before.hblkhd + (8 << 20));
    CHECK(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + (1 << 20));
    CHECK((size_t)mallinfo().uordblks <= mallinfo2().uordblks + (1 << 20) && mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    CHECK(malloc_info(0, stdout) == 0 && malloc_info(1, stdout) == EINVAL);
    puts("fine");
    return 0;
}
