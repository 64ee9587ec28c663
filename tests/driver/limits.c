/* The ends of what a process may do: out of memory (`limits fill KIND PERCENT`, run under an address-space limit), and
 * pointers that are plainly no live blocks (`limits wild CASE`: prints the pointer, hands it in, with `trim` calls malloc_trim). */
#include "support.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* ---- out of memory: take all there is as a linked list, meet NULL and ENOMEM, give it back, and go on */

typedef struct Link { struct Link *next; size_t size; } Link;

static size_t fill(size_t size, Link **list) {
    size_t total = 0;
    for (;;) {
        Link *l;
        errno = 0;
        l = A(malloc)(size);
        if (l == NULL) {
            CHECK(errno == ENOMEM, "errno %d after %zu bytes", errno, total);
            return total;
        }
        l->next = *list;
        l->size = size;
        ((char *)l)[size - 1] = 1;
        *list = l;
        total += size;
    }
}

static void drain(Link **list) {
    while (*list) {
        Link *l = *list;
        *list = l->next;
        CHECK(((char *)l)[l->size - 1] == 1, "%p of %zu bytes is damaged", (void *)l, l->size);
        A(free)(l);
    }
}

static pthread_barrier_t threads_may_go;

static void *fill_thread(void *argument) {
    Link *list = NULL;
    int round;
    pthread_barrier_wait(&threads_may_go);
    for (round = 0; round < 3; round++) {
        fill((size_t)(uintptr_t)argument, &list);
        drain(&list);
    }
    return NULL;
}

static void mode_fill(const char *kind, int percent) {
    size_t size = strcmp(kind, "small") == 0 ? 1000 : strcmp(kind, "medium") == 0 ? 20000 : 1000000, got, again;
    struct rlimit limit;
    Link *list = NULL;
    void *kept[100], *p;
    pthread_t ids[4];
    pthread_attr_t small;
    Random r = {5};
    Block resized;
    int i;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY, "no limit is set");
    for (i = 0; i < 100; i++) kept[i] = A(malloc)((size_t)i * 100);
    block_new_by(&resized, &r, 0, 100000, 1);
    /* Before all is taken: their stacks need address space, which an allocator need not return. */
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 128 << 10) == 0, "stack");
    CHECK(pthread_barrier_init(&threads_may_go, NULL, 5) == 0, "barrier");
    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&ids[i], &small, fill_thread, (void *)(uintptr_t)(size + (size_t)i * 100)) == 0, "thread %d", i);
    got = fill(size, &list);
    printf("%s: %zu MiB of %llu MiB\n", kind, got >> 20, (unsigned long long)limit.rlim_cur >> 20);
    CHECK(got / 100 >= limit.rlim_cur / 10000 * (size_t)percent, "only %zu MiB of %llu MiB", got >> 20,
          (unsigned long long)limit.rlim_cur >> 20);
    /* Everything else fails in the same way now, and harms nothing. */
    errno = 0;
    CHECK(A(calloc)(64, 1 << 20) == NULL && errno == ENOMEM, "calloc, errno %d", errno);
    errno = 0;
    CHECK(A(realloc)(resized.p, 256 << 20) == NULL && errno == ENOMEM, "realloc, errno %d", errno);
    block_check(&resized, resized.size, "after a realloc that failed");
    errno = 0;
    CHECK(A(memalign)(1 << 21, 64 << 20) == NULL && errno == ENOMEM, "memalign, errno %d", errno);
    p = &list;
    errno = 0;
    CHECK(A(posix_memalign)(&p, 1 << 21, 64 << 20) == ENOMEM && errno == 0 && p == &list, "posix_memalign, errno %d", errno);
    drain(&list);
    /* What came back can be had again, also by the other kinds. */
    p = A(malloc)(limit.rlim_cur / 4);
    CHECK(p != NULL, "a quarter of the limit, after all was freed");
    A(free)(p);
    again = fill(size, &list);
    CHECK(again >= got - got / 10, "the second time only %zu MiB of %zu MiB", again >> 20, got >> 20);
    drain(&list);
    A(malloc_trim)(0);
    pthread_barrier_wait(&threads_may_go);
    for (i = 0; i < 4; i++) CHECK(pthread_join(ids[i], NULL) == 0, "join");
    again = fill(size, &list);
    CHECK(again >= got - got / 4, "after threads only %zu MiB of %zu MiB", again >> 20, got >> 20);
    drain(&list);
    block_free(&resized, &r);
    for (i = 0; i < 100; i++) A(free)(kept[i]);
    puts("fine");
}

/* ---- wild pointers */

static void *sink; /* so that results are not thrown away */

static void *announce(void *p) {
    printf("%p\n", p);
    fflush(stdout);
    return p;
}

static void *free_thread(void *p) {
    A(free)(p);
    return NULL;
}

static void in_thread(void *p) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, free_thread, p) == 0 && pthread_join(t, NULL) == 0, "thread");
}

enum { MANY = 20000 };
static void *many[MANY];

static void many_new(size_t size) {
    int i;
    for (i = 0; i < MANY; i++) CHECK((many[i] = A(malloc)(size)) != NULL, "%d", i);
}

static void wild_stack(void) { char here[64]; A(free)(announce(here)); }
static void wild_static(void) { static char here[4096]; A(free)(announce(here + 64)); }
static void wild_low(void) { A(free)(announce((void *)8)); }
static void wild_noncanonical(void) { A(free)(announce((void *)0xdeadbeefdeadbee0)); }
static void wild_mapping(void) {
    A(free)(announce(mmap(NULL, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
}
static void wild_large_first_slice(void) { A(free)(announce((char *)A(malloc)(700000) + 4096)); }
static void wild_large_middle(void) { A(free)(announce((char *)A(malloc)(700000) + 350000)); }
static void wild_large_twice(void) { void *p = announce(A(malloc)(700000)); A(free)(p); A(free)(p); }
static void *giant(void) { /* grown until it has moved to a mapping of its own, or stays a large block: both count */
    void *p = A(malloc)(1 << 20), *wall;
    size_t size;
    for (size = 2 << 20; size < (size_t)64 << 20; size *= 2) {
        wall = A(malloc)(1 << 20);
        p = A(realloc)(p, size);
        CHECK(p != NULL && wall != NULL, "%zu", size);
    }
    return p;
}
static void wild_giant_twice(void) { void *p = announce(giant()); A(free)(p); A(free)(p); }
static void wild_giant_middle(void) { A(free)(announce((char *)giant() + (5 << 20))); }
static void wild_unused(void) {
    uintptr_t p = (uintptr_t)A(malloc)(1 << 20) & ~(uintptr_t)0x1FFFFF;
    A(free)(announce((void *)(p + ((uintptr_t)1 << 30))));
}
static void wild_small_twice(void) {
    void *p;
    int i;
    many_new(64);
    p = announce(many[5000]);
    A(free)(p);
    for (i = 0; i < 4000; i++) A(free)(many[i]);
    A(free)(p);
    for (i = 6000; i < MANY; i++) A(free)(many[i]);
    A(malloc_trim)(0); /* at the latest now the bins go to the spans */
}
static void wild_small_twice_remote(void) { void *p = announce(A(malloc)(64)); in_thread(p); in_thread(p); }
static void wild_small_gone(void) {
    int i;
    many_new(64);
    for (i = 0; i < MANY; i++) A(free)(many[i]);
    announce(many[MANY / 2]);
    A(malloc_trim)(0);
    A(free)(many[MANY / 2]);
}
static void wild_small_misaligned_remote(void) { in_thread(announce((char *)A(malloc)(200) + 8)); }
static void wild_small_interior_remote(void) { in_thread(announce((char *)A(malloc)(208) + 16)); }
static void wild_small_misaligned_full(void) {
    int i; /* own thread, but its bin is full: the slow path */
    many_new(64);
    for (i = 0; i < MANY / 2; i++) A(free)(many[i]);
    A(free)(announce((char *)many[MANY - 10] + 8));
    A(malloc_trim)(0); /* it goes home in company: at the latest now */
}
static void wild_realloc_stack(void) { char here[64]; sink = A(realloc)(announce(here), 100); }
static void wild_realloc_unused(void) {
    uintptr_t p = (uintptr_t)A(malloc)(1 << 20) & ~(uintptr_t)0x1FFFFF;
    sink = A(realloc)(announce((void *)(p + ((uintptr_t)1 << 30))), 100);
}
static void wild_realloc_large_middle(void) { sink = A(realloc)(announce((char *)A(malloc)(700000) + 4096), 10); }
static void wild_realloc_large_freed(void) {
    void *p = announce(A(malloc)(700000));
    A(free)(p);
    sink = A(realloc)(p, 10);
}
static void wild_cfree(void) { char here[64]; a_cfree(announce(here)); }
static void wild_free_sized(void) { char here[64]; a_free_sized(announce(here), 64); }

#define CASE(name) {#name, wild_##name}
static const struct { const char *name; void (*act)(void); } cases[] = {
    CASE(stack), CASE(static), CASE(low), CASE(noncanonical), CASE(mapping), CASE(large_first_slice), CASE(large_middle),
    CASE(large_twice), CASE(giant_twice), CASE(giant_middle), CASE(unused), CASE(small_twice), CASE(small_twice_remote),
    CASE(small_gone), CASE(small_misaligned_remote), CASE(small_interior_remote), CASE(small_misaligned_full),
    CASE(realloc_stack), CASE(realloc_unused), CASE(realloc_large_middle), CASE(realloc_large_freed), CASE(cfree),
    CASE(free_sized),
};

int main(int count, char **words) {
    static char buffer[BUFSIZ];
    size_t i;
    driver_open();
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer); /* else stdio's buffer takes the place of a block just freed */
    if (count == 4 && strcmp(words[1], "fill") == 0) {
        mode_fill(words[2], atoi(words[3]));
        return 0;
    }
    if ((count == 3 || (count == 4 && strcmp(words[3], "trim") == 0)) && strcmp(words[1], "wild") == 0)
        for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
            if (strcmp(cases[i].name, words[2]) == 0) {
                cases[i].act();
                if (count == 4) A(malloc_trim)(0); /* where a bin takes whatever is freed, it is looked at when it leaves */
                puts("nobody noticed");
                return 0;
            }
    CHECK(0, "usage: %s fill KIND PERCENT | wild CASE [trim]", words[0]);
}
