/* The stress program: `stress MODE THREADS OPERATIONS SEED`. Deterministic but for the scheduling of threads, and
 * bounded by counts, never by time. Exit status 0, or an abort with one line that says what broke. */
#include "modes.h"

static const Mode modes[] = {
    {"churn", mode_churn},   {"grow", mode_grow}, {"classes", mode_classes}, {"freeonly", mode_freeonly},
    {"orphans", mode_orphans}, {"first", mode_first}, {"keys", mode_keys},   {"short", mode_short},
    {"idle", mode_idle},     {"fork", mode_fork}, {"cancel", mode_cancel},   {"exit", mode_exit},
    {"relay", mode_relay},
};

int main(int count, char **words) {
    driver_open();
    modes_run(modes, sizeof modes / sizeof modes[0], count, words);
    puts("");
    return 0;
}
