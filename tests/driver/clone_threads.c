/* A process of one thread makes a copy by a raw clone: its number in the C library's memory is then the parent's thread's. In the
 * copy threads begin, and all of them allocate for a second: nobody may take the first one for a thread that has ended. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *body(void *mark) {
    unsigned char *p[200], own = (unsigned char)(size_t)mark;
    unsigned sizes = own;
    for (time_t end = time(NULL) + 2; time(NULL) < end;) {
        for (int i = 0; i < 200; i++) {
            size_t bytes = 16 + (sizes++ * 2654435761u >> 16) % 2000;
            memset(p[i] = malloc(bytes), own, bytes);
        }
        for (int i = 0; i < 200; i++) {
            if (*p[i] != own) abort();
            free(p[i]);
        }
    }
    return NULL;
}

int main(void) {
    pthread_t thread[3];
    int status = 0;
    pid_t child;
    free(malloc(100));
    child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        for (size_t i = 0; i < 3; i++) pthread_create(&thread[i], NULL, body, (void *)(i + 2));
        body((void *)1);
        for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
        syscall(SYS_exit_group, 0);
    }
    waitpid(child, &status, 0);
    puts(status ? "the copy has died" : "ok");
    return status != 0;
}
