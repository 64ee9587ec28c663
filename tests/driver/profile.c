/* Programs whose requests are known exactly, to compare with what the profile estimates. Each prints, per size, the requests,
 * the milliseconds that their blocks lived in total, and the sum of the squares of these: the estimate's variance. */
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZES = 8, THREADS = 4, LIVE = 4000 };
/* Pairs that share a class, and sizes of classes with many and with few objects. */
static const size_t sizes[SIZES] = {24, 32, 100, 108, 1000, 1024, 5000, 20000};
typedef struct {
    uint64_t requests, life, squares;
} Count;
typedef struct {
    void *p;
    uint64_t begin;
    int size;
} Block;
typedef struct {
    Count count[SIZES];
    uint64_t random;
    long operations;
    Block block[LIVE];
} Shop;
static Count total[SIZES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint32_t draw(Shop *s, uint32_t below) {
    s->random ^= s->random << 13, s->random ^= s->random >> 7, s->random ^= s->random << 17;
    return (uint32_t)(((s->random >> 32) * below) >> 32);
}

static void get(Shop *s, Block *b, int size) {
    b->p = size == 6 ? calloc(1, sizes[size]) : malloc(sizes[size]);
    if (!b->p) abort();
    for (size_t i = 0; size == 6 && i < sizes[6]; i += 97)
        if (((char *)b->p)[i]) abort(); /* calloc's blocks are zero, followed or not */
    memset(b->p, 0x5a, sizes[size]);
    b->begin = now(), b->size = size;
    s->count[size].requests++;
}

static void drop(Shop *s, Block *b) {
    uint64_t life = now() - b->begin;
    s->count[b->size].life += life, s->count[b->size].squares += life * life;
    free(b->p);
    b->p = NULL;
}

static void shop_end(Shop *s) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < SIZES; i++) {
        total[i].requests += s->count[i].requests;
        total[i].life += s->count[i].life;
        total[i].squares += s->count[i].squares;
    }
    pthread_mutex_unlock(&lock);
}

/* Only growth: two sizes of one class in turn, which a fixed step would always meet in the same phase. */
static void *grow(void *arg) {
    Shop *s = arg;
    long n = s->operations;
    Block *b = calloc((size_t)n, sizeof *b);
    for (long i = 0; i < n; i++) get(s, &b[i], 2 + (int)(i & 1));
    for (long i = 0; i < n; i++) drop(s, &b[i]);
    free(b);
    return NULL;
}

/* Random replacement in a live set: skewed sizes. */
static void *churn(void *arg) {
    Shop *s = arg;
    for (long i = 0; i < s->operations; i++) {
        Block *b = &s->block[draw(s, LIVE)];
        if (b->p) drop(s, b);
        uint32_t x = draw(s, 1000);
        get(s, b, x < 400 ? 0 : x < 500 ? 1 : x < 700 ? 2 : x < 900 ? 3 : x < 960 ? 4 : x < 980 ? 5 : x < 995 ? 6 : 7);
    }
    for (int i = 0; i < LIVE; i++)
        if (s->block[i].p) drop(s, &s->block[i]);
    return NULL;
}

/* A stack that goes up and down and never needs a refill: only the chosen frees can find these. In a fixed rhythm. */
static void *lifo(void *arg) {
    Shop *s = arg;
    for (long i = 0; i < s->operations; i += 8) {
        for (int k = 0; k < 8; k++) get(s, &s->block[k], k & 1 ? 3 : k == 4 ? 1 : 2);
        for (int k = 8; k-- > 0;) drop(s, &s->block[k]);
    }
    return NULL;
}

/* Blocks of two sizes, of which one is kept for long: their lives tell them apart. */
static void *lives(void *arg) {
    Shop *s = arg;
    Block kept[2000];
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 2000; i++) get(s, &kept[i], 4);
        uint64_t until = now() + 60;
        while (now() < until) {
            get(s, &s->block[0], 5);
            drop(s, &s->block[0]);
        }
        for (int i = 0; i < 2000; i++) drop(s, &kept[i]);
    }
    return NULL;
}

static void *drop_all(void *arg) {
    Shop *s = arg;
    for (int i = 0; i < LIVE; i++) drop(s, &s->block[i]);
    return NULL;
}

/* One thread allocates, another frees. */
static void *relay(void *arg) {
    Shop *s = arg;
    for (long n = 0; n < s->operations; n += LIVE) {
        pthread_t t;
        for (int i = 0; i < LIVE; i++) get(s, &s->block[i], (int)draw(s, 4));
        if (pthread_create(&t, NULL, drop_all, s) || pthread_join(t, NULL)) abort();
    }
    return NULL;
}

/* Parent and child ask for different sizes; what the parent had before the fork, the child frees. */
static void *children(void *arg) {
    Shop *s = arg;
    for (int i = 0; i < LIVE; i++) get(s, &s->block[i], 2);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        memset(s->count, 0, sizeof s->count);
        for (int i = 0; i < LIVE; i++) free(s->block[i].p), s->block[i].p = NULL;
        for (long i = 0; i < s->operations; i++) get(s, &s->block[0], 5), drop(s, &s->block[0]);
        return NULL; /* and prints what it did, as its parent does */
    }
    Block other;
    for (long i = 0; i < s->operations; i++) get(s, &other, 4), free(other.p);
    for (int i = 0; i < LIVE; i++) drop(s, &s->block[i]);
    int status;
    if (waitpid(pid, &status, 0) != pid || status) abort();
    return NULL;
}

int main(int argc, char **argv) {
    const struct {
        const char *name;
        void *(*run)(void *);
        int threads;
    } modes[] = {{"grow", grow, 1},   {"churn", churn, 1}, {"lifo", lifo, 1},         {"lives", lives, 1},
                 {"relay", relay, 1}, {"threads", churn, THREADS}, {"children", children, 1}};
    for (size_t m = 0; argc == 3 && m < sizeof modes / sizeof modes[0]; m++) {
        if (strcmp(argv[1], modes[m].name)) continue;
        pthread_t thread[THREADS];
        static Shop shops[THREADS];
        for (int i = 0; i < modes[m].threads; i++) {
            shops[i].random = 0x9E3779B97F4A7C15u * (uint64_t)(i + 1), shops[i].operations = atol(argv[2]);
            if (i) pthread_create(&thread[i], NULL, modes[m].run, &shops[i]);
        }
        modes[m].run(&shops[0]);
        for (int i = 0; i < modes[m].threads; i++) {
            if (i) pthread_join(thread[i], NULL);
            shop_end(&shops[i]);
        }
        printf("%d", (int)getpid());
        for (int i = 0; i < SIZES; i++)
            printf(" %zu:%" PRIu64 ":%" PRIu64 ":%" PRIu64, sizes[i], total[i].requests, total[i].life, total[i].squares);
        printf("\n");
        return 0;
    }
    fprintf(stderr, "profile grow|churn|lifo|lives|relay|threads|children OPERATIONS\n");
    return 2;
}
