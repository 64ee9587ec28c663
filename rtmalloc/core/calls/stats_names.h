/* The fields of Stats and HeapCounters in their order, for printing. Both structs are nothing but 64-bit numbers;
 * stats_print checks that the counts agree. */
#ifndef RT_STATS_NAMES_H
#define RT_STATS_NAMES_H
static const char *const rt_stats_names[] = {
    "allocated", "cached", "active", "dirty", "muzzy", "resident", "metadata", "reserved", "giants", "spans", "large_blocks",
    "threads", "heaps", "purge_calls", "purged", "return_calls", "returned",
    "return_raced", "wanted_back", "spans_formed", "spans_released", "transfer_hits", "transfer_misses",
    "adopted", "abandoned", "remaps", "spans_retired", "emergency_flushes", "refusals", "alarms",
    "committed", "clean", "huge", "budget_taken", "unmapped",
    "caches", "cpus", "cpu_aborts",
    "refill_current", "refill_partial", "refill_adopted", "refill_new", "excess_frees", "excess_batches",
    "remote_frees", "remote_batches", "mail_spans", "evicted", "mail_takes", "ticks", "epochs", "flushed_objects",
};
/* Where the names of HeapCounters begin, which stand at the end. */
enum { RT_STATS_COUNTERS_AT = 38 };
enum { RT_STATS_NAME_COUNT = sizeof rt_stats_names / sizeof rt_stats_names[0] };
#endif
