/* Children made without the C library's fork: sandboxes, debuggers and init systems call clone themselves. Other threads
 * allocate meanwhile, so that locks are held and memory is torn.
 *
 *     raw_fork KIND THREADS    KIND 0: fork, 1: _Fork, 2: a raw clone */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "allocator.h"
extern pid_t _Fork(void);
enum { HELD = 40000, CHILDREN = 60, AT_ONCE = 500, SECONDS = 5 };
static volatile int quit;

static void *noise(void *x) {
    void *p[300];
    int i;
    while (!quit) {
        for (i = 0; i < 300; i++) p[i] = A(malloc)(20 + i * 137);
        for (i = 0; i < 300; i++) A(free)(p[i]);
    }
    return x;
}

static void child(void **held) {
    void *p[AT_ONCE];
    int i;
    alarm(SECONDS);
    for (i = 0; i < AT_ONCE; i++) p[i] = A(malloc)(i * 100);
    for (i = 0; i < AT_ONCE; i++) A(free)(p[i]);
    for (i = 0; i < 20000; i++) A(free)(A(malloc)(i % 3000));
    /* What the parent held is whole, and can be freed. */
    for (i = 1; i < HELD; i += 2) {
        if (((char *)held[i])[999] != 1) syscall(SYS_exit_group, 1);
        A(free)(held[i]);
    }
    syscall(SYS_exit_group, 0);
}

int main(int count, char **words) {
    static void *held[HELD];
    int kind = count > 1 ? atoi(words[1]) : 0, threads = count > 2 ? atoi(words[2]) : 4;
    int i, status, bad = 0, hung = 0;
    pthread_t t[8];
    for (i = 0; i < HELD; i++) memset(held[i] = A(malloc)(1000), 1, 1000);
    for (i = 0; i < HELD; i += 2) A(free)(held[i]);
    for (i = 0; i < threads; i++) pthread_create(&t[i], NULL, noise, NULL);
    for (i = 0; i < CHILDREN && hung < 3; i++) {
        pid_t c = kind == 0 ? fork() : kind == 1 ? _Fork() : syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (c == 0) child(held);
        waitpid(c, &status, 0);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) hung++;
        else if (status) bad++;
    }
    quit = 1;
    for (i = 0; i < threads; i++) pthread_join(t[i], NULL);
    printf("kind %d, %d threads: %d crashed, %d hung\n", kind, threads, bad, hung);
    return bad || hung;
}
