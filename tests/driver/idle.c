/* A program that frees what it had and then makes no call: what becomes of its memory, and who runs in it meanwhile.
 *
 *     idle burst MIB KEPT_PERCENT SECONDS   blocks of many sizes, of which a share stays; then it polls its own state
 *     idle large MIB SECONDS                one block
 *     idle identity                         the thread is there, and the program gives up its rights
 *     idle sandbox                          ... or sees to it that it never gets others
 *     idle join THREADS SECONDS             threads with large stacks, whose storage the C library frees under a lock of its own
 *
 * Prints lines "NAME VALUE". It looks at itself by system calls, without malloc. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "status.h"

static void rest(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Poll for `seconds`: the least resident memory, and the most threads, that were seen. */
static void watch(double seconds) {
    long least = resident_kib(), most = threads(), ms, first = least, reached = 0;
    for (ms = 0; ms < seconds * 1000; ms += 20) {
        long kib = resident_kib(), count = threads();
        if (kib < least - 1024) reached = ms;
        least = kib < least ? kib : least;
        most = count > most ? count : most;
        rest(20);
    }
    printf("reached_ms %ld\nbefore_kib %ld\nleast_kib %ld\nlast_kib %ld\nmost_threads %ld\nlast_threads %ld\n", reached, first, least, resident_kib(), most, threads());
}

static uint64_t state = 88172645463325252u;
static uint64_t next(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

/* What no allocator that cannot move blocks can be below: the pages that a block which stays lies in. */
static size_t bound_kib(char *const *blocks, size_t count) {
    enum { PAGES = 1 << 24 };
    static unsigned char seen[PAGES];
    size_t pages = 0, i, page;
    for (i = 0; i < count; i++)
        if (blocks[i])
            for (page = (uintptr_t)blocks[i] >> 12; page <= ((uintptr_t)blocks[i] + malloc_usable_size(blocks[i]) - 1) >> 12; page++)
                if (!seen[page % PAGES]) pages += seen[page % PAGES] = 1;
    return pages * 4;
}

static void burst(long mib, long percent, double seconds) {
    size_t bytes = 0, count = 0, room = (size_t)mib << 16, kept = 0, i;
    char **blocks = malloc(room * sizeof *blocks);
    static const size_t sizes[] = {16, 32, 48, 64, 96, 128, 200, 256, 400, 512, 1024, 2048};
    while (bytes < (size_t)mib << 20 && count < room) {
        size_t size = sizes[next() % (sizeof sizes / sizeof *sizes)];
        blocks[count] = malloc(size);
        memset(blocks[count++], 1, size);
        bytes += size;
    }
    for (i = 0; i < count; i++)
        if ((long)(next() % 100) >= percent) free(blocks[i]), blocks[i] = NULL;
        else kept++;
    printf("kept %zu\nbound_kib %zu\n", kept, bound_kib(blocks, count));
    fflush(stdout);
    watch(seconds);
}

static void *visitor(void *unused) {
    free(malloc(100));
    return unused;
}
static void join(long count, double seconds) {
    pthread_attr_t attributes;
    long i, turn;
    pthread_t *ids = malloc((size_t)count * sizeof *ids);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 20);
    for (turn = 0; turn < 200; turn++) {
        /* Something to give back, more each time, freed just short of the next tick. */
        char *held[2000];
        for (i = 0; i < 2000; i++) held[i] = memset(malloc(8000), 1, 8000);
        for (i = 0; i < count; i++) pthread_create(&ids[i], &attributes, visitor, NULL);
        rest(2);
        for (i = 0; i < 2000 - (turn % 256); i++) free(held[i]);
        for (i = 0; i < count; i++) pthread_join(ids[i], NULL);
        for (i = 2000 - (turn % 256); i < 2000; i++) free(held[i]);
    }
    watch(seconds);
}

/* Start the background thread, then become somebody else, or lock oneself in. */
static void busy(void) {
    enum { COUNT = 40000 };
    static char *held[COUNT];
    long i;
    for (i = 0; i < COUNT; i++) held[i] = memset(malloc(1000), 1, 1000);
    for (i = 0; i < COUNT; i++) free(held[i]);
}
static void identity(void) {
    long turn;
    for (turn = 0; turn < 20; turn++) {
        busy();
        if (turn % 5 == 0 && setgid(1000 + (gid_t)turn) != 0) exit(3);
    }
    printf("threads_before %ld\n", threads());
    if (setuid(1000) != 0) exit(3);
    printf("threads_after %ld\n", threads());
    rest(300);
    busy();
    printf("threads_later %ld\nuid %ld\n", threads(), number_in("/proc/thread-self/status", "Uid:"));
}
static void sandbox(void) {
    busy();
    printf("threads_before %ld\n", threads());
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    printf("threads_after %ld\n", threads());
    rest(300);
    busy();
    busy();
    printf("threads_later %ld\n", threads());
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "burst") == 0) burst(atol(argv[2]), atol(argv[3]), atof(argv[4]));
    else if (argc == 4 && strcmp(argv[1], "large") == 0) {
        size_t bytes = (size_t)atol(argv[2]) << 20;
        char *volatile block = malloc(bytes);
        memset(block, 1, bytes);
        free(block);
        watch(atof(argv[3]));
    } else if (argc == 4 && strcmp(argv[1], "join") == 0) join(atol(argv[2]), atof(argv[3]));
    else if (argc == 2 && strcmp(argv[1], "identity") == 0) identity();
    else if (argc == 2 && strcmp(argv[1], "sandbox") == 0) sandbox();
    else return 2;
    return 0;
}
