/* A limit on address space that comes after the allocator has reserved its range. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

int main(void) {
    struct rlimit limit = {64 << 20, 64 << 20};
    void *p[200];
    int i, j, got = 0;
    char *before = malloc(3 << 20), *after;
    memset(before, 7, 3 << 20);
    if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
    /* Already over the limit: no new mapping succeeds. What the allocator has reserved may still be used, or not. */
    for (i = 0; i < 200; i++) {
        errno = 0;
        p[i] = malloc(i % 2 ? 5000 : 500000);
        if (p[i] == NULL && errno != ENOMEM) return 3;
        if (p[i]) memset(p[i], i, i % 2 ? 5000 : 500000), got++;
    }
    after = realloc(before, 200 << 20);
    if (after) before = after;
    for (i = 0; i < 3 << 20; i++)
        if (before[i] != 7) return 4;
    free(before);
    for (i = 0; i < 200; i++) {
        for (j = 0; p[i] && j < 5000; j++)
            if (((unsigned char *)p[i])[j] != i) return 5;
        free(p[i]);
    }
    puts("fine");
    return 0;
}
