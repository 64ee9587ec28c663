/* One call of each kind, with sizes that a trace can be searched for; then it ends as its argument says. */
#define _GNU_SOURCE
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *end = argc > 1 ? argv[1] : "return";
    char *big = calloc(1, 50 << 20), *kept = malloc(3 << 20);
    void *p = malloc(1001), *q, *aligned;
    memset(big, 1, 10 * 4096);
    memset(kept, 1, 7 * 4096);
    p = realloc(p, 100002);
    q = reallocarray(NULL, 3, 1003);
    if (posix_memalign(&aligned, 256, 1004)) return 1;
    free(aligned);
    free(aligned_alloc(512, 1024));
    free(memalign(128, 1005));
    free(valloc(1006));
    free(pvalloc(1007));
    free(realloc(NULL, 1008));
    if (realloc(q, 0)) return 1;
    free(strdup("a string of 26 characters."));
    free(NULL);
    free(p);
    free(big);
    if (!strcmp(end, "_exit")) _exit(0);
    if (!strcmp(end, "kill")) raise(SIGKILL);
    if (!strcmp(end, "abort")) abort();
    if (!strcmp(end, "exec")) execl("/bin/sh", "sh", "-c", "exit 7", (char *)0);
    return 0;
}
