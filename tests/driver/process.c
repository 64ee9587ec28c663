/* What happens to the whole process in the middle of a storm: fork, cancellation, exit. */
#include "modes.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WEATHER_MOST = 16, CHILD_SECONDS = 60 };
static Storm weather[WEATHER_MOST];
static pthread_t weather_ids[WEATHER_MOST];
static _Atomic bool weather_over;

static void *weather_thread(void *argument) {
    Storm *s = argument;
    while (!atomic_load_explicit(&weather_over, memory_order_relaxed)) storm_step(s);
    storm_end(s);
    return NULL;
}

static void weather_start(const Run *run, void *(*f)(void *), uint64_t round) {
    int i;
    CHECK(run->threads <= WEATHER_MOST, "%d threads", run->threads);
    atomic_store(&weather_over, false);
    for (i = 0; i < run->threads; i++) {
        memset(&weather[i], 0, sizeof weather[i]);
        weather[i].random.state = run->seed + round * 1000 + (uint64_t)i;
        weather[i].most = 8 * SIZE_CLASS;
        weather_ids[i] = thread_start(f, &weather[i]);
    }
}

static void weather_stop(const Run *run) {
    int i;
    atomic_store(&weather_over, true);
    for (i = 0; i < run->threads; i++) thread_join(weather_ids[i]);
}

/* ---- fork. The child sees the table exactly as it was: what is in it is whole, and is the child's to free. */

static Storm child_storm;

static void *child_thread(void *argument) {
    Storm s = {{(uint64_t)(uintptr_t)argument}, SIZE_CLASS, {0}};
    int i;
    for (i = 0; i < 200; i++) storm_step(&s);
    storm_end(&s);
    return NULL;
}

static void child_work(uint64_t seed, int depth) {
    Random r = {seed};
    int i, status, pid;
    pthread_t t;
    A(malloc_trim)(0); /* a child that begins by giving back walks everything */
    shared_clear(&r);  /* objects of threads that do not exist here */
    child_storm.random = r;
    child_storm.most = SIZE_LARGE;
    for (i = 0; i < 1000; i++) storm_step(&child_storm);
    if (depth) {
        pid = fork();
        CHECK(pid >= 0, "fork in a child");
        if (pid == 0) child_work(seed + 1, depth - 1);
#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
        /* TSan knows the parent's threads as alive and refuses one with the id of any of them; starting one allocates from
         * ASan, whose locks another thread may have held at the fork. */
        (void)t;
#else
        t = thread_start(child_thread, (void *)(uintptr_t)seed);
        thread_join(t);
#endif
        status = child_wait(pid, CHILD_SECONDS);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "grandchild: status %#x", (unsigned)status);
    }
    storm_end(&child_storm);
    shared_clear(&r);
    if (seed % 2) exit(0); /* with atexit and stdio */
    _exit(0);
}

void mode_fork(const Run *run) {
    Random r = {run->seed};
    long round;
    int status, pid;
    weather_start(run, weather_thread, 0);
    for (round = 0; round < run->operations; round++) {
        /* The forking thread has a heap with content, or not, in turn. */
        if (round % 2) shared_clear(&r);
        pid = fork();
        CHECK(pid >= 0, "fork");
        if (pid == 0) child_work(run->seed + (uint64_t)round, 1);
        status = child_wait(pid, CHILD_SECONDS);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %ld: status %#x", round, (unsigned)status);
    }
    weather_stop(run);
    shared_clear(&r);
}

/* ---- relay: heaps change hands among short threads while others are busy, and look after everybody's from time to time */

void mode_relay(const Run *run) {
    enum { RUNNERS = 4 };
    pthread_t ids[RUNNERS];
    Random r = {run->seed};
    long i;
    weather_start(run, weather_thread, 1);
    for (i = 0; i < run->operations; i++) {
        if (i >= RUNNERS) thread_join(ids[i % RUNNERS]);
        ids[i % RUNNERS] = thread_start(child_thread, (void *)(uintptr_t)(run->seed + (uint64_t)i));
    }
    for (i = 0; i < RUNNERS && i < run->operations; i++) thread_join(ids[i]);
    weather_stop(run);
    shared_clear(&r);
}

/* ---- cancel: threads die at cancellation points between calls; what they had is checked by who joins them */

static void *cancel_thread(void *argument) {
    Storm *s = argument;
    for (;;) {
        storm_step(s);
        pthread_testcancel();
    }
    return NULL;
}

void mode_cancel(const Run *run) {
    Random r = {run->seed};
    long round;
    int i;
    for (round = 0; round < run->operations; round++) {
        weather_start(run, cancel_thread, (uint64_t)round);
        usleep((unsigned)random_below(&r, 3000));
        for (i = 0; i < run->threads; i++) CHECK(pthread_cancel(weather_ids[i]) == 0, "cancel");
        for (i = 0; i < run->threads; i++) thread_join(weather_ids[i]);
        for (i = 0; i < run->threads; i++) storm_end(&weather[i]);
    }
    shared_clear(&r);
}

/* ---- exit: one thread of a storm ends the process, with atexit handlers that still allocate */

static Run exit_run;

static void exit_handler(void) {
    Random r = {exit_run.seed};
    Storm s = {{exit_run.seed}, SIZE_CLASS, {0}};
    int i;
    shared_clear(&r);
    for (i = 0; i < 300; i++) storm_step(&s);
    storm_end(&s);
}

static void *exit_thread(void *argument) {
    Storm s = {{(uint64_t)(uintptr_t)argument}, SIZE_CLASS, {0}};
    int i, n = 200 + (int)((uintptr_t)argument % 1000);
    for (i = 0; i < n; i++) storm_step(&s);
    exit(7);
}

void mode_exit(const Run *run) {
    long round;
    int status, pid;
    for (round = 0; round < run->operations; round++) {
        pid = fork();
        CHECK(pid >= 0, "fork");
        if (pid == 0) {
            exit_run = *run;
            CHECK(atexit(exit_handler) == 0, "atexit");
            weather_start(run, weather_thread, (uint64_t)round);
            thread_join(thread_start(exit_thread, (void *)(uintptr_t)(run->seed + (uint64_t)round)));
            _exit(99);
        }
        status = child_wait(pid, CHILD_SECONDS);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "round %ld: status %#x", round, (unsigned)status);
    }
}
