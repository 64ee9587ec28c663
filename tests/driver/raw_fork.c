// Children made without the C library's fork: sandboxes, debuggers and init systems call clone themselves. Other threads allocate meanwhile.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sched.h>
#include <signal.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
extern pid_t _Fork(void);
static volatile int quit; static void *noise(void *x) { while (!quit) { void *p[300]; for (int i = 0; i < 300; i++) p[i] = malloc(20 + i * 137); for (int i = 0; i < 300; i++) free(p[i]); } return x; }
int main(int argc, char **argv) {
    int kind = atoi(argv[1]), threads = atoi(argv[2]); pthread_t t[8];
    static void *hold[40000]; for (int i = 0; i < 40000; i++) { hold[i] = malloc(1000); memset(hold[i], 1, 1000); } for (int i = 0; i < 40000; i += 2) free(hold[i]);
    for (int i = 0; i < threads; i++) pthread_create(&t[i], NULL, noise, NULL);
    int bad = 0, hung = 0;
    for (int i = 0; i < 60; i++) {
        pid_t c = kind == 0 ? fork() : kind == 1 ? _Fork() : syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (!c) { alarm(3); void *p[500]; for (int k = 0; k < 500; k++) p[k] = malloc(k * 100); for (int k = 0; k < 500; k++) free(p[k]); for (int k = 0; k < 20000; k++) free(malloc(k % 3000)); syscall(SYS_exit_group, 0); }
        int st; waitpid(c, &st, 0); if (WIFSIGNALED(st)) { if (WTERMSIG(st) == SIGALRM) hung++; else bad++; if (hung > 2) break; }
    }
    quit = 1; for (int i = 0; i < threads; i++) pthread_join(t[i], NULL);
    printf("kind %d, %d threads: %d crashed, %d hung\n", kind, threads, bad, hung); return bad || hung;
}
