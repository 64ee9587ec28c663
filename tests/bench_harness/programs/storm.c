/* What is hard for a recorder: many short threads, hand-overs, closed descriptors, forks from threads, signal
 * handlers that allocate. Takes the number of short threads, a multiple of three; prints `well` at its end. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void *place[64];
static volatile sig_atomic_t signals;

static void on_signal(int number) {
    (void)number;
    signals++;
    free(malloc(777));
}

static void *churn(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument + 1;
    for (int i = 0; i < 400; i++) {
        size_t n = 1 + (size_t)(rand_r(&seed) % 3000);
        void *p = malloc(n);
        memset(p, 1, n);
        free(__atomic_exchange_n(&place[rand_r(&seed) % 64], p, __ATOMIC_ACQ_REL));
    }
    return 0;
}

static void threads(int count, int at_once) {
    pthread_t t[64];
    for (int i = 0; i < count; i += at_once) {
        for (int k = 0; k < at_once; k++) pthread_create(&t[k], 0, churn, (void *)(uintptr_t)(i + k));
        for (int k = 0; k < at_once; k++) pthread_join(t[k], 0);
    }
}

static void child(int by_syscall) {
    pid_t pid = by_syscall ? (pid_t)syscall(SYS_fork) : fork();
    if (pid == 0) {
        churn((void *)9);
        for (int i = 0; i < 64; i++) { free(place[i]); place[i] = 0; }
        _exit(3);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 3) { puts("a child failed"); exit(1); }
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    for (int fd = 3; fd < 100; fd++) close(fd);
    threads(atoi(argv[1]), 3);
    /* A handler that allocates may meet the allocator's lock: only while none is held, in code that calls nothing. */
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);
    while (signals < 20) __asm__ volatile("" ::: "memory");
    setitimer(ITIMER_REAL, &never, 0);
    child(0);
    child(1);
    if (vfork() == 0) { execl("/bin/true", "true", (char *)0); _exit(1); }
    wait(0);
    threads(30, 30);
    puts("well");
    return 0;
}
