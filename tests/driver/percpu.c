/* Per-CPU caches: `percpu MODE THREADS OPERATIONS SEED`. Storms (storm.c) in the worst weather for restartable sequences:
 * signals at a high rate, threads moved from CPU to CPU, heaps stopped by malloc_trim, forks, single steps. Exit status 0, or an
 * abort with one line that says what broke. (Whether sequences were really aborted the allocator's counters tell.) */
#include "modes.h"
#include <errno.h>
#include <linux/rseq.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS_HERE = 32, TICK_NS = 60000, CHILD_SECONDS = 100 };
static Storm storms[THREADS_HERE];
static pthread_t ids[THREADS_HERE];
static _Atomic pid_t kernel_ids[THREADS_HERE];
static _Atomic long left;          /* operations that the threads of a storm have not begun */
static _Atomic long signals_seen;
static _Atomic bool over;
static int with_timer;
static long cpus[CPU_SETSIZE], cpu_count;

static void cpus_find(void) {
    cpu_set_t set;
    int i;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0, "sched_getaffinity");
    for (i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set)) cpus[cpu_count++] = i;
    CHECK(cpu_count > 0, "no CPU");
}

/* Move a thread (0: the calling one); it may have ended meanwhile. */
static void move_to(pid_t thread, long cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(thread, sizeof set, &set) != 0) CHECK(errno == ESRCH && thread != 0, "sched_setaffinity: %d", errno);
}

static void on_signal(int number) {
    (void)number; /* does not allocate: malloc is no business of handlers */
    atomic_fetch_add_explicit(&signals_seen, 1, memory_order_relaxed);
}

/* A signal to this thread every TICK_NS. */
static timer_t timer_begin(int number) {
    struct sigevent event;
    struct itimerspec every = {{0, TICK_NS + number * 977}, {0, TICK_NS}};
    timer_t timer;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create: %d", errno);
    CHECK(timer_settime(timer, 0, &every, NULL) == 0, "timer_settime: %d", errno);
    return timer;
}

/* Small blocks in quick succession: most of the time goes by in the fast paths. A block that two threads have shows. */
enum { QUICK_BLOCKS = 48, QUICK_STEPS = 400 };
typedef struct { uint64_t *blocks[QUICK_BLOCKS]; } Quick;

static void quick_step(Quick *q, Random *r) {
    uint64_t **slot = &q->blocks[random_next(r) % QUICK_BLOCKS];
    if (*slot) {
        CHECK((*slot)[0] == (uint64_t)(uintptr_t)slot && (*slot)[1] == ~(uint64_t)(uintptr_t)slot, "%p is not ours alone", (void *)*slot);
        A(free)(*slot);
        *slot = NULL;
    } else {
        uint64_t *p = A(malloc)(16 + random_next(r) % 4 * 16);
        CHECK(p != NULL, "no block");
        p[0] = (uint64_t)(uintptr_t)slot, p[1] = ~p[0];
        *slot = p;
    }
}

static void quick_end(Quick *q) {
    int i;
    for (i = 0; i < QUICK_BLOCKS; i++) A(free)(q->blocks[i]);
}

static void *storm_thread(void *argument) {
    Storm *s = argument;
    Quick quick = {{NULL}};
    int number = (int)(s - storms), i;
    timer_t timer = 0;
    atomic_store(&kernel_ids[number], (pid_t)syscall(SYS_gettid));
    if (with_timer) timer = timer_begin(number);
    while (atomic_fetch_sub_explicit(&left, 1, memory_order_relaxed) > 0) {
        storm_step(s);
        for (i = 0; i < QUICK_STEPS; i++) quick_step(&quick, &s->random);
    }
    quick_end(&quick);
    storm_end(s);
    if (with_timer) CHECK(timer_delete(timer) == 0, "timer_delete: %d", errno);
    return NULL;
}

static void storm_begin(const Run *run, void *(*f)(void *), bool timer) {
    struct sigaction action;
    int i;
    CHECK(run->threads <= THREADS_HERE, "%d threads", run->threads);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    with_timer = timer;
    atomic_store(&left, run->operations * run->threads);
    atomic_store(&over, false);
    for (i = 0; i < run->threads; i++) {
        memset(&storms[i], 0, sizeof storms[i]);
        storms[i].random.state = run->seed * 1000 + (uint64_t)i;
        storms[i].most = 4 * SIZE_CLASS;
        ids[i] = thread_start(f, &storms[i]);
    }
}

static void storm_wait(const Run *run) {
    int i;
    for (i = 0; i < run->threads; i++) thread_join(ids[i]);
    atomic_store(&over, true);
}

/* ---- signals: handlers run between any two instructions */

static void mode_signals(const Run *run) {
    Random r = {run->seed};
    storm_begin(run, storm_thread, true);
    storm_wait(run);
    shared_clear(&r);
    CHECK(atomic_load(&signals_seen) > 100, "only %ld signals arrived", atomic_load(&signals_seen));
}

/* ---- migrate: somebody moves the threads about, and somebody else stops the CPUs' heaps all the time */

static void *mover_thread(void *argument) {
    const Run *run = argument;
    Random r = {run->seed + 77};
    while (!atomic_load(&over)) {
        pid_t thread = atomic_load(&kernel_ids[random_below(&r, (uint64_t)run->threads)]);
        if (thread) move_to(thread, cpus[random_below(&r, (uint64_t)cpu_count)]);
        if (random_below(&r, 16) == 0) sched_yield();
    }
    return NULL;
}

static void *trim_thread(void *argument) {
    (void)argument;
    while (!atomic_load(&over)) {
        A(malloc_trim)(0);
        usleep(200);
    }
    return NULL;
}

static void mode_migrate(const Run *run) {
    Random r = {run->seed};
    pthread_t mover, trimmer;
    storm_begin(run, storm_thread, false);
    mover = thread_start(mover_thread, (void *)run);
    trimmer = thread_start(trim_thread, NULL);
    storm_wait(run);
    thread_join(mover);
    thread_join(trimmer);
    shared_clear(&r);
}

/* ---- forks: in both weathers at once. The child frees what the parent's threads had handed over, works, and forks again. */

static void child_main(uint64_t seed, int depth) {
    static Storm s;
    Random r = {seed};
    int i, pid, status;
    with_timer = 0;
    shared_clear(&r);
    memset(&s, 0, sizeof s);
    s.random = r;
    s.most = SIZE_LARGE;
    for (i = 0; i < 600; i++) {
        if (i % 50 == 0) move_to(0, cpus[(size_t)i / 50 % (size_t)cpu_count]);
        if (i % 200 == 0) A(malloc_trim)(0); /* stops heaps: the child's right to do so is its own */
        storm_step(&s);
    }
    if (depth) {
        pid = fork();
        CHECK(pid >= 0, "fork in a child");
        if (pid == 0) child_main(seed + 1, depth - 1);
        status = child_wait(pid, CHILD_SECONDS);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "grandchild: status %#x", (unsigned)status);
    }
    storm_end(&s);
    shared_clear(&r);
    _exit(0);
}

static void mode_forks(const Run *run) {
    Random r = {run->seed};
    Run weather = *run;
    pthread_t mover;
    long round;
    weather.operations = 1L << 40;
    storm_begin(&weather, storm_thread, true);
    mover = thread_start(mover_thread, (void *)run);
    for (round = 0; round < run->operations; round++) {
        int status, pid = fork();
        CHECK(pid >= 0, "fork");
        if (pid == 0) child_main(run->seed + (uint64_t)round, 2);
        status = child_wait(pid, CHILD_SECONDS);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %ld: status %#x", round, (unsigned)status);
    }
    atomic_store(&left, 0);
    storm_wait(run);
    thread_join(mover);
    shared_clear(&r);
}

/* ---- steps: the kernel aborts a sequence at every single step, so a stepped thread never gets through one; let go, it does */

static void mode_steps(const Run *run) {
    Random r = {run->seed};
    long round, step;
    int status, pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        /* It ends by exit, not _exit: the allocator's counters are printed then. */
        static Storm s;
        CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "PTRACE_TRACEME: %d", errno);
        s.random.state = run->seed;
        s.most = SIZE_CLASS;
        for (round = 0; round < run->operations; round++) {
            CHECK(raise(SIGSTOP) == 0, "raise");
            for (step = 0; step < 50; step++) storm_step(&s);
        }
        storm_end(&s);
        shared_clear(&r);
        exit(0);
    }
    for (;;) {
        CHECK(waitpid(pid, &status, 0) == pid, "waitpid: %d", errno);
        if (!WIFSTOPPED(status)) break;
        CHECK(WSTOPSIG(status) == SIGSTOP, "stopped by signal %d", WSTOPSIG(status));
        for (step = random_below(&r, 2000) + 200; step; step--) {
            CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0, "PTRACE_SINGLESTEP: %d", errno);
            CHECK(waitpid(pid, &status, 0) == pid, "waitpid: %d", errno);
            CHECK(WIFSTOPPED(status), "ended in the middle of its steps: %#x", (unsigned)status);
            if (WSTOPSIG(status) == SIGSTOP) break; /* it got as far as the next round */
        }
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0, "PTRACE_CONT: %d", errno);
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the stepped process: status %#x", (unsigned)status);
}

/* ---- unregistered: threads that lose their registration in mid-life work with heaps of their own, and go back */

extern const ptrdiff_t __rseq_offset __attribute__((weak));
static struct rseq *area(void) { return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset); }

/* glibc does not tell the length that it registered: 32 bytes, or what the kernel has features for. */
static uint32_t area_length;

static void registration_end(void) {
    uint32_t length;
    for (length = 32; length <= 256; length += 4)
        if (syscall(SYS_rseq, area(), length, RSEQ_FLAG_UNREGISTER, 0x53053053) == 0) {
            area_length = length;
            return;
        }
    CHECK(0, "the registration does not end: %d", errno);
}

static void registration_begin(void) {
    CHECK(syscall(SYS_rseq, area(), area_length, 0, 0x53053053) == 0, "rseq: %d", errno);
}

static void *unregistered_thread(void *argument) {
    Storm *s = argument;
    int number = (int)(s - storms), round;
    for (round = 0; round < 6; round++) {
        long i;
        if (round % 2) registration_end();
        for (i = 0; i < 1500; i++) storm_step(s);
        /* Some end without a registration, and without having a CPU. */
        if (round % 2 && (number % 3 || round < 5)) registration_begin();
    }
    storm_end(s);
    return NULL;
}

static void mode_unregistered(const Run *run) {
    Random r = {run->seed};
    long round;
    CHECK(&__rseq_offset != NULL, "this C library has no rseq");
    for (round = 0; round < run->operations; round++) {
        storm_begin(run, unregistered_thread, false);
        storm_wait(run);
    }
    shared_clear(&r);
}

/* ---- left: a CPU that nobody runs on any more keeps nothing. Its blocks have a size of their own (24 KiB), to be found in the
 * counters that the allocator prints at exit. OPERATIONS 1: work goes on elsewhere; 0: malloc_trim is called there. */

static void mode_left(const Run *run) {
    enum { BLOCKS = 40, SIZE = 24 << 10 };
    void *blocks[BLOCKS];
    struct timespec begin, now;
    int i;
    CHECK(cpu_count > 1, "one CPU alone cannot be left");
    move_to(0, cpus[0]);
    for (i = 0; i < BLOCKS; i++) CHECK((blocks[i] = A(malloc)(SIZE)) != NULL, "no block");
    for (i = 0; i < BLOCKS; i++) A(free)(blocks[i]);
    move_to(0, cpus[1]);
    if (run->operations == 0) {
        A(malloc_trim)(0);
        return;
    }
    /* Not a limit but a duration: some hundred epochs of a millisecond. */
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for (i = 0; i < 1000; i++) A(free)(A(malloc)(64));
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < 400);
}

static const Mode modes[] = {
    {"signals", mode_signals}, {"migrate", mode_migrate}, {"forks", mode_forks},
    {"steps", mode_steps},     {"unregistered", mode_unregistered}, {"left", mode_left},
};

int main(int count, char **words) {
    driver_open();
    cpus_find();
    modes_run(modes, sizeof modes / sizeof modes[0], count, words);
    printf(", %ld signals\n", atomic_load(&signals_seen));
    return 0;
}
