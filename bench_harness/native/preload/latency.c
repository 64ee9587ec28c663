/* The latency probe: preloaded in front of an allocator, it takes the time of each single call.
 *
 * Time is counted in ticks of the processor's own clock, read with fences on both sides so that nothing of the call
 * is overlapped with what stands around it; a pair of readings with nothing between them is subtracted. Machines
 * without such a clock, or with one that stops, use clock_gettime.
 *
 * Each thread counts in a histogram of its own, in the form of HdrHistogram: 64 steps for each power of two, so a value
 * is known to 1.6 %. They lie in pages that forked processes share. An ended thread's histogram is the next one's. The
 * cell says when to begin, and takes the result as a line of JSON (cell.pxd). */
#include "next.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#define STEP_BITS 6
#define STEPS (1 << STEP_BITS)              /* of each power of two */
#define TOP_BITS 40                         /* longer calls count as this: some minutes */
#define BUCKETS ((TOP_BITS - STEP_BITS + 1) * STEPS)
#define CALIBRATION_PAIRS 20000
#define CALIBRATION_NS 20000000             /* the shortest time from which a tick's length is told */
#define TEXT ((size_t)1 << 17)              /* bytes of the result */
#define HISTOGRAMS 8192                     /* of threads that live at once, in all processes of a cell */
#define CACHE_LINE 64

enum { MALLOC, FREE, REALLOC, KINDS };
static const char *const kind_name[KINDS] = {"malloc", "free", "realloc"};

typedef struct Histogram {
    struct Histogram *idle;                 /* the next one of its process's list */
    uint64_t longest[KINDS];
    uint64_t count[KINDS][BUCKETS];
} Histogram;

typedef struct {
    uint64_t used;                          /* histograms that some thread has had */
    Histogram histogram[HISTOGRAMS];
} Board;

static struct {
    int measuring __attribute__((aligned(CACHE_LINE)));
    int by_tsc;
    uint64_t cost;                          /* ticks of a pair of readings */
} probe __attribute__((aligned(CACHE_LINE)));
static Board *board;
static Histogram *idle;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;    /* of `idle` */
static pthread_key_t key;
static uint64_t first_tick, first_ns;
static __thread Histogram *mine;
static __thread int inside;                 /* an allocator may call its own public functions */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#if defined(__x86_64__)
static inline uint64_t before(void) {
    uint64_t t;
    if (__builtin_expect(!probe.by_tsc, 0)) return now_ns();
    _mm_lfence();
    t = __rdtsc();
    _mm_lfence();
    return t;
}

static inline uint64_t after(void) {
    unsigned cpu;
    uint64_t t;
    if (__builtin_expect(!probe.by_tsc, 0)) return now_ns();
    t = __rdtscp(&cpu);
    _mm_lfence();
    return t;
}

/* Constant and never stopped, by the processor's word or by the kernel's trust in it. */
static int tsc_is_steady(void) {
    unsigned a, b, c, d = 0;
    char text[8] = "";
    int fd, well;
    if (__get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1)) return 1;
    fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    well = read(fd, text, sizeof text - 1) > 3 && strncmp(text, "tsc\n", 4) == 0;
    close(fd);
    return well;
}
#else
static inline uint64_t before(void) { return now_ns(); }
static inline uint64_t after(void) { return now_ns(); }
static int tsc_is_steady(void) { return 0; }
#endif

static inline unsigned bucket_of(uint64_t ticks) {
    int shift;
    if (ticks < STEPS) return (unsigned)ticks;
    if (ticks >> TOP_BITS) return BUCKETS - 1;
    shift = 63 - STEP_BITS - __builtin_clzl(ticks);
    return (unsigned)((shift + 1) << STEP_BITS) + (unsigned)(ticks >> shift) - STEPS;
}

/* The largest number of ticks that counts in this bucket. */
static uint64_t bucket_top(unsigned bucket) {
    unsigned shift = bucket >> STEP_BITS;
    if (shift == 0) return bucket;
    shift -= 1;
    return ((uint64_t)(STEPS + (bucket & (STEPS - 1)) + 1) << shift) - 1;
}

static void histogram_give(void *held) {
    Histogram *h = held;
    pthread_mutex_lock(&lock);
    h->idle = idle;
    idle = h;
    pthread_mutex_unlock(&lock);
    mine = 0;
}

static __attribute__((noinline)) Histogram *histogram_take(void) {
    Histogram *h;
    pthread_mutex_lock(&lock);
    h = idle;
    if (h) {
        idle = h->idle;
    } else {
        uint64_t number = __atomic_fetch_add(&board->used, 1, __ATOMIC_RELAXED);
        h = number < HISTOGRAMS ? &board->histogram[number] : 0;
    }
    pthread_mutex_unlock(&lock);
    mine = h;
    if (h) pthread_setspecific(key, h);
    return h;
}

/* A forked child counts in histograms of its own, on the same board. */
static void fork_child(void) {
    pthread_mutex_init(&lock, 0);
    idle = mine = 0;
}

static inline void note(int kind, uint64_t ticks) {
    Histogram *h = mine;
    if (!probe.measuring || (!h && !(h = histogram_take()))) return;
    ticks = ticks > probe.cost ? ticks - probe.cost : 0;
    h->count[kind][bucket_of(ticks)]++;
    if (ticks > h->longest[kind]) h->longest[kind] = ticks;
}

/* ---- what the cell calls ---- */

static uint64_t pair_cost(void) {
    uint64_t least = ~(uint64_t)0;
    int i;
    for (i = 0; i < CALIBRATION_PAIRS; i++) {
        uint64_t t = before(), passed = after() - t;
        if (passed < least) least = passed;
    }
    return least;
}

/* Before any thread is there: a call must not begin by one clock and end by another. */
static __attribute__((constructor)) void choose_clock(void) {
    probe.by_tsc = tsc_is_steady();
    probe.cost = pair_cost();
}

/* From here on calls are counted; what threads did before is not. */
void bench_harness_latency_begin(void) {
    board = mmap(0, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (board == MAP_FAILED) return;
    pthread_key_create(&key, histogram_give);
    pthread_atfork(0, 0, fork_child);
    first_ns = now_ns();
    first_tick = before();
    __atomic_store_n(&probe.measuring, 1, __ATOMIC_RELEASE);
}

static size_t print_kind(char *text, size_t room, int kind, double tick_ns) {
    uint64_t total = 0, longest = 0, count, used_histograms = board->used < HISTOGRAMS ? board->used : HISTOGRAMS, i;
    size_t used = 0;
    unsigned b;
    used += (size_t)snprintf(text, room, "\"%s\":{\"buckets\":[", kind_name[kind]);
    for (b = 0; b < BUCKETS && used + 200 < room; b++) {
        for (count = i = 0; i < used_histograms; i++)
            count += __atomic_load_n(&board->histogram[i].count[kind][b], __ATOMIC_RELAXED);
        if (!count) continue;
        used += (size_t)snprintf(text + used, room - used, "%s[%.2f,%lu]", total ? "," : "",
                                 (double)bucket_top(b) * tick_ns, count);
        total += count;
    }
    for (i = 0; i < used_histograms; i++)
        if (board->histogram[i].longest[kind] > longest) longest = board->histogram[i].longest[kind];
    used += (size_t)snprintf(text + used, room - used, "],\"count\":%lu,\"longest_ns\":%.1f}", total,
                             (double)longest * tick_ns);
    return used;
}

/* Ends the measurement; the result as JSON. */
const char *bench_harness_latency_text(void) {
    static char *text;
    double tick_ns = 1;
    size_t used;
    int kind;
    __atomic_store_n(&probe.measuring, 0, __ATOMIC_RELEASE);
    text = mmap(0, TEXT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (text == MAP_FAILED || !first_ns) return 0;     /* never begun, or without a board */
    if (probe.by_tsc) {
        while (now_ns() - first_ns < CALIBRATION_NS) { }
        tick_ns = (double)(now_ns() - first_ns) / (double)(before() - first_tick);
    }
    used = (size_t)snprintf(text, TEXT, "{\"clock\":\"%s\",\"tick_ns\":%.5f,\"cost_ns\":%.2f",
                            probe.by_tsc ? "rdtsc" : "clock_gettime", tick_ns, (double)probe.cost * tick_ns);
    for (kind = 0; kind < KINDS; kind++) {
        text[used++] = ',';
        used += print_kind(text + used, TEXT - used, kind, tick_ns);
    }
    text[used] = '}';
    return text;
}

/* Whose malloc and free stand behind this library: for the cell's proof of who served it. */
void *bench_harness_behind(const char *symbol) {
    void *found = 0;
    if (!next_ready()) return 0;
    memcpy(&found, strcmp(symbol, "free") == 0 ? (void *)&next.free : (void *)&next.malloc, sizeof found);
    return found;
}

/* ---- malloc and its kin ---- */

#define TIMED(kind, call)                       \
    do {                                        \
        uint64_t t;                             \
        if (inside) { call; break; }            \
        inside = 1;                             \
        t = before();                           \
        call;                                   \
        t = after() - t;                        \
        note(kind, t);                          \
        inside = 0;                             \
    } while (0)

void *malloc(size_t n) {
    void *p;
    if (UNLIKELY(!next_ready())) return early_take(n);
    TIMED(MALLOC, p = next.malloc(n));
    return p;
}

void free(void *p) {
    if (!p || UNLIKELY(early_has(p)) || UNLIKELY(!next_ready())) return;
    TIMED(FREE, next.free(p));
}

void *calloc(size_t n, size_t m) {
    void *p;
    if (UNLIKELY(!next_ready())) return early_take(n * m);
    TIMED(MALLOC, p = next.calloc(n, m));
    return p;
}

void *realloc(void *p, size_t n) {
    void *q;
    if (UNLIKELY(early_has(p)) || UNLIKELY(!next_ready())) return p ? early_move(p, n) : early_take(n);
    TIMED(REALLOC, q = next.realloc(p, n));
    return q;
}

void *memalign(size_t alignment, size_t n) {
    void *p;
    if (UNLIKELY(!next_ready())) return 0;
    TIMED(MALLOC, p = next.memalign(alignment, n));
    return p;
}

void *aligned_alloc(size_t alignment, size_t n) {
    void *p;
    if (UNLIKELY(!next_ready())) return 0;
    TIMED(MALLOC, p = next.aligned_alloc(alignment, n));
    return p;
}

int posix_memalign(void **out, size_t alignment, size_t n) {
    int status;
    if (UNLIKELY(!next_ready())) return ENOMEM;
    TIMED(MALLOC, status = next.posix_memalign(out, alignment, n));
    return status;
}
