/* fork while other threads are in getline and fflush(NULL): the C library holds the lock of its streams and calls malloc.
 * They pause after each call: the C library's locks are not fair, and without us fork may wait a minute for its turn. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
enum { FORKS = 100, LINE = 20000, PAUSE_US = 20 };
static volatile int stop;

static void *reader(void *f) {
    while (!stop) {
        char *line = NULL;
        size_t bytes = 0;
        rewind(f);
        getline(&line, &bytes, f);
        free(line);
        usleep(PAUSE_US);
    }
    return NULL;
}

static void *flusher(void *x) {
    while (!stop) {
        fflush(NULL);
        usleep(PAUSE_US);
    }
    return x;
}

int main(void) {
    pthread_t t[4];
    FILE *f[2];
    int i, k, status;
    for (i = 0; i < 2; i++) {
        f[i] = tmpfile();
        for (k = 0; k < LINE; k++) fputc('x', f[i]);
        fputc('\n', f[i]);
        pthread_create(&t[i], NULL, reader, f[i]);
        pthread_create(&t[2 + i], NULL, flusher, NULL);
    }
    for (i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            free(malloc(100));
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (status) return 1;
    }
    stop = 1;
    for (i = 0; i < 4; i++) pthread_join(t[i], NULL);
    puts("ok");
    return 0;
}
