/* A fork child and the partly used spans that it shares with its parent.
 *
 *     inherited MIB DRAW_KIB THREADS   the parent has MIB of small blocks, of which every fifth is free again; the child draws
 *
 * Prints lines "NAME VALUE": bytes that the child took and the KiB that it un-shared by it; the KiB of its heap's growth when it
 * draws as much as all holes together; and what is in use, but for the table
 * of blocks, when it has freed everything. Blocks carry their own address. */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "status.h"

enum { SIZES = 6, MOST = 1 << 21, THREADS_MOST = 16 };
static const size_t size_of[SIZES] = {32, 64, 112, 208, 400, 1008};
static void **held;
static size_t count;

static long private_kib(void) { return number_in("/proc/self/smaps_rollup", "Private_Dirty:"); }

static void **block_new(size_t size) {
    void **p = malloc(size);
    if (!p) exit(3);
    memset(p, 1, size);
    *p = p;
    return p;
}
static void block_free(void **p) {
    if (*p != (void *)p) abort();
    free(p);
}
/* Blocks of all sizes, `kib` in all, kept behind those that are held. */
static void draw(size_t kib) {
    size_t bytes = 0;
    for (; bytes < kib << 10; bytes += size_of[count++ % SIZES]) held[count] = block_new(size_of[count % SIZES]);
}
static void *storm(void *argument) {
    enum { LIVE = 2000 };
    void **mine[LIVE] = {0};
    unsigned seed = (unsigned)(uintptr_t)argument, turn;
    for (turn = 0; turn < 200000; turn++) {
        unsigned i = rand_r(&seed) % LIVE;
        if (mine[i]) block_free(mine[i]);
        mine[i] = block_new(size_of[(unsigned)rand_r(&seed) % SIZES]);
    }
    for (turn = 0; turn < LIVE; turn++)
        if (mine[turn]) block_free(mine[turn]);
    return NULL;
}

static int child(size_t mib, size_t kib, long threads) {
    pthread_t thread[THREADS_MOST];
    size_t i, holes = mib * 1024 / 5;
    long before = private_kib(), used;
    draw(kib);
    printf("unshared_kib %ld\n", private_kib() - before);
    used = resident_kib();
    draw(holes);
    printf("holes_kib %zu\ngrown_kib %ld\n", holes, resident_kib() - used);
    for (i = 0; i < (size_t)threads; i++) pthread_create(&thread[i], NULL, storm, (void *)(i + 1));
    for (i = 0; i < (size_t)threads; i++) pthread_join(thread[i], NULL);
    for (i = 0; i < count; i++)
        if (held[i]) block_free(held[i]);
    malloc_trim(0);
    printf("left_kib %zu\n", (mallinfo2().uordblks - MOST * sizeof *held) >> 10);
    return 0;
}

int main(int argc, char **argv) {
    size_t mib = argc == 4 ? strtoul(argv[1], NULL, 10) : 0, i, end;
    int status = 0;
    pid_t pid;
    if (!mib) return 2;
    held = calloc(MOST, sizeof *held);
    draw(mib << 10);
    for (i = 0, end = count; i < end; i += 5) {
        block_free(held[i]);
        held[i] = NULL;
    }
    fflush(stdout);
    pid = fork();
    if (pid == 0) return child(mib, strtoul(argv[2], NULL, 10), atol(argv[3]));
    waitpid(pid, &status, 0);
    for (i = 0; i < end; i++)
        if (held[i]) block_free(held[i]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
