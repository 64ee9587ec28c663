/* The stress program: `stress MODE THREADS OPERATIONS SEED`. Deterministic but for the scheduling of threads, and
 * bounded by counts, never by time. Exit status 0, or an abort with one line that says what broke. */
#include "modes.h"
#include <string.h>

static const struct { const char *name; void (*mode)(const Run *); } modes[] = {
    {"churn", mode_churn},   {"grow", mode_grow}, {"classes", mode_classes}, {"freeonly", mode_freeonly},
    {"orphans", mode_orphans}, {"first", mode_first}, {"keys", mode_keys},   {"short", mode_short},
    {"idle", mode_idle},     {"fork", mode_fork}, {"cancel", mode_cancel},   {"exit", mode_exit},
    {"relay", mode_relay},
};

int main(int count, char **words) {
    size_t i;
    Run run;
    CHECK(count == 5, "usage: %s MODE THREADS OPERATIONS SEED", words[0]);
    driver_open();
    run.threads = atoi(words[2]);
    run.operations = atol(words[3]);
    run.seed = strtoull(words[4], NULL, 0);
    for (i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(modes[i].name, words[1]) == 0) {
            modes[i].mode(&run);
            printf("%s: %d threads, %ld operations, seed %llu: fine\n", words[1], run.threads, run.operations,
                   (unsigned long long)run.seed);
            return 0;
        }
    CHECK(0, "no mode %s", words[1]);
}
