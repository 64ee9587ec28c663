/* The recorder: preloaded into a program, it writes every call of malloc and its kin into BENCH_HARNESS_RECORD/.
 *
 * A block's address says which block a free means, because positions are drawn so that they order reuse: an allocation
 * draws its position after the allocator has returned, a free before the allocator is called. Whoever gets the address
 * next has drawn a later position. realloc draws two: its old block goes before the call, its new one comes after it.
 *
 * Threads write into chunks of their own of a shared file mapping (see raw.h). Nothing here calls malloc; the only
 * lock is tried, never waited for. A signal handler that allocates in the middle of an event finds the thread `busy`
 * and writes its event into a chunk apart. A forked child notices itself by a page that the kernel wipes in children,
 * and begins a file of its own, which names the parent's file and how much of it came before the fork. */
#include "next.h"
#include "../raw.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SPARES 64                       /* chunks of ended threads that wait for the next thread */
#define LARGE_LIVE 16384                /* places for large live blocks; a power of two */
#define LOOK_PAGES 1024                 /* pages per call of mincore: bytes of stack */
#define TRIES 10000                     /* files of one process id: exec begins a new one */

typedef struct { RawEvent event[RAW_EVENTS]; } Chunk;
typedef struct { Chunk *chunk; uint32_t used; } Spare;

typedef struct {                        /* all zero in a child after fork */
    uint64_t process;
    RawHeader *file;
    int begun;                          /* 1: somebody begins the file, 2: it stands, 3: there can be none */
} Alive;

static Alive *alive;
static RawHeader *inherited_file;       /* survives the fork: the mapping is shared with the parent */
static char folder[RAW_TEXT], path[RAW_TEXT], inherited_path[RAW_TEXT];
static uint64_t began_ns, fork_events;  /* fork_events: 1 + the events before the fork that is under way */
static pthread_key_t key;
static Spare spare[SPARES];
static int spares, spares_lock;
static uintptr_t large[LARGE_LIVE];     /* addresses; 1 where one was removed */
static __thread struct { Chunk *chunk; uint64_t process; uint32_t used, thread; int busy, inside; } local;

static uint64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *map(size_t n, int flags, int fd, off_t at) {
    void *p = mmap(0, n, PROT_READ | PROT_WRITE, flags, fd, at);
    return p == MAP_FAILED ? 0 : p;
}

static Chunk *chunk_new(RawHeader *file) {
    uint64_t number = __atomic_fetch_add(&file->chunks, 1, __ATOMIC_RELAXED);
    off_t at = RAW_HEADER + (off_t)number * RAW_CHUNK;
    /* Opened anew each time: a program may close descriptors that it does not know, and reuse their numbers. */
    int fd = open(path, O_RDWR | O_CLOEXEC);
    Chunk *chunk = 0;
    if (fd >= 0 && pwrite(fd, "", 1, at + RAW_CHUNK - 1) == 1) chunk = map(RAW_CHUNK, MAP_SHARED, fd, at);
    if (fd >= 0) close(fd);
    return chunk;
}

static Spare spare_take(void) {
    Spare taken = {0, 0};
    if (!__atomic_exchange_n(&spares_lock, 1, __ATOMIC_ACQUIRE)) {
        if (spares) taken = spare[--spares];
        __atomic_store_n(&spares_lock, 0, __ATOMIC_RELEASE);
    }
    return taken;
}

static void spare_give(Spare given) {
    if (given.used < RAW_EVENTS && !__atomic_exchange_n(&spares_lock, 1, __ATOMIC_ACQUIRE)) {
        if (spares < SPARES) {
            spare[spares++] = given;
            given.chunk = 0;
        }
        __atomic_store_n(&spares_lock, 0, __ATOMIC_RELEASE);
    }
    if (given.chunk) munmap(given.chunk, RAW_CHUNK);
}

/* ---- the process's file ---- */

static void text_read(const char *from, char *text) {
    ssize_t n = 0;
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    n = read(fd, text, RAW_TEXT - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
}

static RawHeader *file_new(void) {
    int fd = -1, i;
    RawHeader *file = 0;
    for (i = 0; i < TRIES && fd < 0; i++) {
        snprintf(path, sizeof path, "%s/%d-%d.raw", folder, (int)getpid(), i);
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST) return 0;
    }
    if (fd < 0) return 0;
    if (ftruncate(fd, RAW_HEADER) == 0) file = map(RAW_HEADER, MAP_SHARED, fd, 0);
    close(fd);
    return file;
}

static void fork_prepare(void) {
    if (alive && alive->begun == 2) fork_events = 1 + __atomic_load_n(&alive->file->events, __ATOMIC_RELAXED);
}
static void fork_parent(void) { fork_events = 0; }

static void thread_end(void *unused);

/* Once per process and program: `folder` is known, nobody else is here. */
static int process_begin(void) {
    static int is_child;
    RawHeader *file;
    memcpy(inherited_path, path, sizeof path);
    file = file_new();
    if (!file) return 0;
    began_ns = now(CLOCK_MONOTONIC);
    file->pid = getpid();
    file->parent = getppid();
    file->page = (uint64_t)sysconf(_SC_PAGESIZE);
    file->began = now(CLOCK_REALTIME);
    text_read("/proc/self/cmdline", file->command);
    if (is_child) {
        memcpy(file->parent_file, inherited_path, sizeof inherited_path);
        file->inherited = fork_events ? fork_events - 1 : inherited_file->events;
        munmap(inherited_file, RAW_HEADER);
        fork_events = 0;
        spares = 0;                     /* of the parent's file; the lock may have been held at the fork */
        __atomic_store_n(&spares_lock, 0, __ATOMIC_RELEASE);
    } else {
        pthread_key_create(&key, thread_end);
        pthread_atfork(fork_prepare, fork_parent, 0);
        is_child = 1;
    }
    memcpy(file->magic, RAW_MAGIC, sizeof file->magic);
    inherited_file = alive->file = file;
    __atomic_store_n(&alive->process, (uint64_t)getpid(), __ATOMIC_RELEASE);
    return 1;
}

/* True when this process has a file. */
static __attribute__((noinline)) int process_ready(void) {
    int expected = 0;
    if (!alive) {
        const char *given = getenv("BENCH_HARNESS_RECORD");
        Alive *page;
        if (!given || strlen(given) > RAW_TEXT - 64) return 0;
        page = map(4096, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!page || madvise(page, 4096, MADV_WIPEONFORK) != 0) return 0;
        strcpy(folder, given);
        if (__atomic_exchange_n(&alive, page, __ATOMIC_ACQ_REL)) return 0;     /* lost a race; the first one serves */
    }
    if (__atomic_compare_exchange_n(&alive->begun, &expected, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
        __atomic_store_n(&alive->begun, process_begin() ? 2 : 3, __ATOMIC_RELEASE);
    return __atomic_load_n(&alive->begun, __ATOMIC_ACQUIRE) == 2;
}

/* ---- events ---- */

static void event_write(RawEvent *e, RawHeader *file, uint32_t thread, int op, uintptr_t address, uint64_t size) {
    uint64_t position = __atomic_fetch_add(&file->events, 1, __ATOMIC_ACQ_REL);
    e->order = position << RAW_THREAD_BITS | thread;
    e->address = address;
    e->size = size;
    __atomic_store_n(&e->moment, (now(CLOCK_MONOTONIC) - began_ns) << 8 | (unsigned)op, __ATOMIC_RELEASE);
}

/* This thread's next chunk; false when there is none to be had. */
static __attribute__((noinline)) int thread_attach(void) {
    RawHeader *file;
    Spare taken;
    if (!process_ready()) return 0;
    file = alive->file;
    if (local.process != alive->process) {      /* a new thread, or the forked one in a child */
        if (local.chunk) munmap(local.chunk, RAW_CHUNK);
        local.chunk = 0;
        local.process = alive->process;
        local.thread = (uint32_t)__atomic_add_fetch(&file->threads, 1, __ATOMIC_RELAXED);
    } else if (local.chunk) {
        munmap(local.chunk, RAW_CHUNK);         /* it is full */
    }
    taken = spare_take();
    local.chunk = taken.chunk ? taken.chunk : chunk_new(file);
    local.used = taken.used;
    if (local.chunk) pthread_setspecific(key, local.chunk);
    else __atomic_fetch_add(&file->lost, 1, __ATOMIC_RELAXED);
    return local.chunk != 0;
}

/* From a signal handler that came in the middle of an event of its thread. */
static __attribute__((noinline)) void event_apart(int op, uintptr_t address, uint64_t size) {
    Chunk *chunk;
    if (!alive || alive->begun != 2 || local.process != alive->process) return;
    chunk = chunk_new(alive->file);
    if (!chunk) return;
    event_write(&chunk->event[0], alive->file, local.thread, op, address, size);
    munmap(chunk, RAW_CHUNK);
}

static void event(int op, void *address, uint64_t size) {
    int kept = errno;
    if (UNLIKELY(local.busy)) {
        event_apart(op, (uintptr_t)address, size);
    } else {
        local.busy = 1;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (__builtin_expect(alive && local.process == alive->process && local.chunk && local.used < RAW_EVENTS, 1)
            || thread_attach())
            event_write(&local.chunk->event[local.used++], alive->file, local.thread, op, (uintptr_t)address, size);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        local.busy = 0;
    }
    errno = kept;
}

static void thread_end(void *unused) {
    (void)unused;
    event(RAW_THREAD_END, 0, 0);
    if (!local.chunk || local.process != alive->process) return;
    local.busy = 1;
    spare_give((Spare){local.chunk, local.used});
    local.chunk = 0;
    local.busy = 0;
}

/* ---- how much of a large block was touched ---- */

static uintptr_t *large_place(uintptr_t address, uintptr_t wanted) {
    size_t at = (address >> 12) * 0x9E3779B97F4A7C15u >> 40, i;
    for (i = 0; i < LARGE_LIVE; i++, at++) {
        uintptr_t *p = &large[at & (LARGE_LIVE - 1)], held = __atomic_load_n(p, __ATOMIC_ACQUIRE);
        if (held == wanted || (wanted == 0 && held == 1)) return p;
        if (held == 0) return 0;
    }
    return 0;
}

static void large_add(void *block) {
    uintptr_t *p = large_place((uintptr_t)block, 0), held;
    if (p) {
        held = *p;
        if (held <= 1) __atomic_compare_exchange_n(p, &held, (uintptr_t)block, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
}

static void touched_count(void *block) {
    uintptr_t page = alive && alive->begun == 2 ? alive->file->page : 4096;
    uintptr_t at = (uintptr_t)block & ~(page - 1);
    uintptr_t end = ((uintptr_t)block + next.malloc_usable_size(block) + page - 1) & ~(page - 1);
    unsigned char resident[LOOK_PAGES];
    uint64_t pages = 0;
    while (at < end) {
        size_t length = end - at < LOOK_PAGES * page ? end - at : LOOK_PAGES * page, i;
        if (mincore((void *)at, length, resident) != 0) return;
        for (i = 0; i < length / page; i++) pages += resident[i] & 1;
        at += length;
    }
    event(RAW_TOUCHED, block, pages);
}

static void block_goes(int op, void *block, size_t usable) {
    if (UNLIKELY(usable >= RAW_LARGE)) {
        uintptr_t *p = large_place((uintptr_t)block, (uintptr_t)block);
        if (p) __atomic_store_n(p, 1, __ATOMIC_RELEASE);
        int kept = errno;
        touched_count(block);
        errno = kept;
    }
    event(op, block, 0);
}

static void *block_comes(int op, void *block, size_t size, size_t alignment) {
    if (!block) return 0;
    if (UNLIKELY(size >= RAW_LARGE) && next.malloc_usable_size) large_add(block);
    event(op, block, (uint64_t)(alignment > 1 ? __builtin_ctzl(alignment) : 0) << RAW_SIZE_BITS | size);
    return block;
}

static __attribute__((destructor)) void process_end(void) {
    size_t i;
    if (!alive || alive->begun != 2) return;
    for (i = 0; i < LARGE_LIVE; i++)
        if (large[i] > 1) touched_count((void *)large[i]);
    alive->file->ended = 1;
}

/* ---- malloc and its kin ---- */

/* An allocator may call its own public functions: only the outermost call is the program's. */
#define OUTERMOST (local.inside++ == 0)
#define RETURNED (local.inside--)

void *malloc(size_t n) {
    void *p;
    int outer;
    if (UNLIKELY(!next_ready())) return early_take(n);
    outer = OUTERMOST;
    p = next.malloc(n);
    RETURNED;
    return outer ? block_comes(RAW_MALLOC, p, n, 0) : p;
}

void free(void *p) {
    if (!p || UNLIKELY(early_has(p)) || UNLIKELY(!next_ready())) return;
    if (OUTERMOST) block_goes(RAW_FREE, p, next.malloc_usable_size ? next.malloc_usable_size(p) : 0);
    next.free(p);
    RETURNED;
}

void *calloc(size_t n, size_t m) {
    void *p;
    int outer;
    if (UNLIKELY(!next_ready())) return early_take(n * m);      /* only the loader; the region is zero */
    outer = OUTERMOST;
    p = next.calloc(n, m);
    RETURNED;
    return outer ? block_comes(RAW_CALLOC, p, n * m, 0) : p;
}

void *realloc(void *p, size_t n) {
    void *q;
    if (!p) return malloc(n);
    if (UNLIKELY(early_has(p)) || UNLIKELY(!next_ready())) return early_move(p, n);
    if (!OUTERMOST) {
        q = next.realloc(p, n);
        RETURNED;
        return q;
    }
    block_goes(RAW_RESIZE, p, next.malloc_usable_size ? next.malloc_usable_size(p) : 0);
    q = next.realloc(p, n);
    RETURNED;
    if (q) return block_comes(RAW_RESIZED, q, n, 0);
    event(n ? RAW_RESIZE_FAILED : RAW_FREE, n ? p : 0, 0);
    if (n && next.malloc_usable_size && next.malloc_usable_size(p) >= RAW_LARGE) large_add(p);
    return 0;
}

static void *aligned(void *(*serve)(size_t, size_t), size_t alignment, size_t n) {
    int outer = OUTERMOST;
    void *p = serve(alignment, n);
    RETURNED;
    return outer ? block_comes(RAW_ALIGNED, p, n, alignment) : p;
}

void *memalign(size_t alignment, size_t n) { return next_ready() ? aligned(next.memalign, alignment, n) : 0; }
void *aligned_alloc(size_t alignment, size_t n) { return next_ready() ? aligned(next.aligned_alloc, alignment, n) : 0; }

int posix_memalign(void **out, size_t alignment, size_t n) {
    int outer, status;
    if (!next_ready()) return ENOMEM;
    outer = OUTERMOST;
    status = next.posix_memalign(out, alignment, n);
    RETURNED;
    if (outer && status == 0) block_comes(RAW_ALIGNED, *out, n, alignment);
    return status;
}

/* glibc's own serve these from their own code, without a call that a preloaded library could see. */
void *valloc(size_t n) { return memalign((size_t)sysconf(_SC_PAGESIZE), n); }
void *pvalloc(size_t n) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return memalign(page, (n + page - 1) & ~(page - 1));
}
