/* `dense MIB`: grow by small blocks, free all but one in 200, give back; prints KiB of huge pages before and after, and what
 * FILE of a cgroup says then (`dense MIB FILE`), 0 without one. */
#include "support.h"
#include <string.h>

static long huge_kib(void) {
    char line[256];
    long total = 0, kib;
    FILE *f = fopen("/proc/self/smaps", "r");
    CHECK(f != NULL, "smaps");
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "AnonHugePages: %ld kB", &kib) == 1) total += kib;
    fclose(f);
    return total;
}

int main(int count, char **words) {
    enum { BYTES = 500, MOST = 1000000 };
    static char *blocks[MOST];
    long n, i, grown, usage = 0;
    FILE *f;
    CHECK(count == 2 || count == 3, "usage: %s MIB [FILE]", words[0]);
    driver_open();
    n = atol(words[1]) * 1048576 / BYTES;
    CHECK(n > 0 && n <= MOST, "%ld blocks", n);
    for (i = 0; i < n; i++) memset(blocks[i] = A(malloc)(BYTES), (int)(i % 251), BYTES);
    grown = huge_kib();
    for (i = 0; i < n; i++)
        if (i % 200) A(free)(blocks[i]);
    A(malloc_trim)(0);
    for (i = 0; i < n; i += 200)
        CHECK(blocks[i][0] == (char)(i % 251) && blocks[i][BYTES - 1] == (char)(i % 251), "survivor %ld", i);
    if (count == 3) {
        f = fopen(words[2], "r");
        CHECK(f != NULL && fscanf(f, "%ld", &usage) == 1, "%s", words[2]);
    }
    printf("%ld %ld %ld %zu\n", grown, huge_kib(), usage / 1024, resident_bytes() / 1024);
}
