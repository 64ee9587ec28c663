/* A service whose bursts are of another kind each time: what one leaves behind scattered is of no use to the next.
 *
 *     limit BURSTS MIB     prints "peak_kib N", the most resident memory that it saw; killed where that is too much */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "status.h"

int main(int argc, char **argv) {
    static const size_t sizes[] = {200, 1000, 3000, 500};
    long bursts = atol(argv[1]), mib = atol(argv[2]), peak = 0, now, burst;
    char **old[2] = {NULL, NULL};
    size_t counts[2] = {0, 0}, i;
    if (argc != 3) return 2;
    for (burst = 0; burst < bursts; burst++) {
        size_t size = sizes[burst % 4], count = ((size_t)mib << 20) / size;
        int turn = burst % 2;
        char **blocks;
        /* What is left of the burst before the last one. */
        for (i = 0; i < counts[turn]; i += 50) free(old[turn][i]);
        free(old[turn]);
        blocks = malloc(count * sizeof *blocks);
        for (i = 0; i < count; i++) {
            if (!(blocks[i] = malloc(size))) return 3;
            memset(blocks[i], 1, size);
        }
        now = resident_kib();
        peak = now > peak ? now : peak;
        for (i = 0; i < count; i++)
            if (i % 50) free(blocks[i]);
        old[turn] = blocks;
        counts[turn] = count;
        usleep(200000);
    }
    printf("peak_kib %ld\n", peak);
    return 0;
}
