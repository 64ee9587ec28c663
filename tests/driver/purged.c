/* Memory that was given back to the kernel: calloc of it is zero by whatever path it went (`purged zero ROUNDS`), and in a
 * guarded build nobody can touch it before it is handed out again (`purged touch CASE`: writes into memory that it no longer
 * owns; only a guarded build may notice). The options choose the path. */
#include "support.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 3000, KEPT_EVERY = 97 };
static const size_t sizes[] = {16, 48, 208, 1024, 2048, 2304, 5000, 16000, 32768, 40000, 100000, 1 << 20, 3 << 20, 9000001};
enum { SIZES = sizeof sizes / sizeof sizes[0], MIB_PER_SIZE = 12 };
static unsigned char *blocks[SIZES][BLOCKS];

static int count_of(int s) {
    size_t n = ((size_t)MIB_PER_SIZE << 20) / sizes[s];
    return n > BLOCKS ? BLOCKS : n < 2 ? 2 : (int)n;
}

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* A trickle of calls: it is what purges by time live from. */
static void idle(int ms) {
    int i, j;
    for (i = 0; i < ms; i++) {
        for (j = 0; j < 300; j++) A(free)(A(malloc)(64));
        sleep_ms(1);
    }
}

static void zero_round(Random *r) {
    int s, i;
    size_t n;
    for (s = 0; s < SIZES; s++)
        for (i = 0; i < count_of(s); i++) {
            unsigned char *p = blocks[s][i];
            if (p == NULL) {
                p = blocks[s][i] = i % 2 ? A(calloc)(1, sizes[s]) : A(calloc)(sizes[s], 1);
                CHECK(p != NULL, "%zu", sizes[s]);
                for (n = 0; n < sizes[s]; n++)
                    CHECK(p[n] == 0, "calloc of %zu bytes: byte %zu of %p is %#x", sizes[s], n, (void *)p, p[n]);
            }
            memset(p, 0xA0 + s, A(malloc_usable_size)(p));
        }
    for (s = 0; s < SIZES; s++)
        for (i = 0; i < count_of(s); i++) {
            /* Survivors keep spans and segments in use: pages inside of them go back, too. */
            CHECK(blocks[s][i][0] == 0xA0 + s && blocks[s][i][sizes[s] - 1] == 0xA0 + s, "%zu", sizes[s]);
            if (i % KEPT_EVERY == 0 && random_below(r, 4)) continue;
            A(free)(blocks[s][i]);
            blocks[s][i] = NULL;
        }
}

static void mode_zero(int rounds, int idle_ms, int trim) {
    Random r = {(uint64_t)rounds};
    while (rounds--) {
        zero_round(&r);
        if (trim) A(malloc_trim)(0);
        idle(idle_ms);
    }
}

static void mode_touch(const char *what) {
    static char *many[20000];
    char *p;
    int i;
    if (strcmp(what, "large") == 0) {
        /* Its neighbour keeps their group of segments from being unmapped. */
        p = A(malloc)(300000);
        many[0] = A(malloc)(300000);
        A(free)(p);
    } else {
        /* One object in a hundred stays: the page in between goes back while its span is in use. */
        for (i = 0; i < 20000; i++) memset(many[i] = A(malloc)(64), 1, 64);
        for (i = 0; i < 20000; i++)
            if (i % 256) A(free)(many[i]);
        p = many[10000 + 256 - 10000 % 256 + 128];
    }
    A(malloc_trim)(0);
    idle(20);
    A(malloc_trim)(0);
    *(volatile char *)p = 1;
    puts("nobody noticed");
}

int main(int count, char **words) {
    driver_open();
    if (count == 5 && strcmp(words[1], "zero") == 0)
        mode_zero(atoi(words[2]), atoi(words[3]), atoi(words[4]));
    else if (count == 3 && strcmp(words[1], "touch") == 0)
        mode_touch(words[2]);
    else
        CHECK(0, "usage: %s zero ROUNDS IDLE_MS TRIM | touch small|large", words[0]);
    puts("fine");
}
