/* A trace as a cell replays it; docs/traces.md describes it, and FILE.trace.zst is this under zstd.
 *
 * A TraceHeader; then segments, each the operations of one thread in one slice; then the segments' index, a line for
 * each thread, and a text in JSON. All numbers are little-endian. An operation is a
 * byte (OP_*) and LEB128 numbers, seven bits a byte, the lowest first:
 *   malloc, calloc   slot, bytes, [pages]
 *   aligned          slot, bytes, logarithm of the alignment, [pages]
 *   free             slot
 *   realloc          old slot, new slot, bytes, old bytes, [pages]
 *   time             us since the last time or the segment's begin */
#ifndef BENCH_HARNESS_TRACE_H
#define BENCH_HARNESS_TRACE_H
#include <stdint.h>

#define TRACE_MAGIC "bhtrace\1"
enum {
    TRACE_PAGE = 4096,              /* bytes: touched pages are counted in these, whatever the machine's page is */
    TRACE_OP_MOST = 48,             /* bytes of one operation at most */
    TRACE_TIME_US = 50              /* a moment is written when so much time has passed since the last one */
};
enum { OP_MALLOC, OP_CALLOC, OP_ALIGNED, OP_FREE, OP_REALLOC, OP_TIME, OP_KINDS };
enum {
    OP_KIND = 7,
    OP_SHARED = 8,                  /* the slot is in the table of all threads, not in the thread's own */
    OP_NEW_SHARED = 16,             /* realloc: its second slot */
    OP_TOUCHED = 32                 /* so many pages are touched, the first ones; without it the whole block is */
};

typedef struct {
    char magic[8];
    uint64_t bytes;                 /* of the whole file: a shorter one was cut */
    uint64_t events;                /* operations without OP_TIME */
    uint64_t kind[5];               /* of them, by kind */
    uint64_t threads, slices, slice_events, segments;
    uint64_t index_at, threads_at, info_at, info_bytes;
    uint64_t shared_slots;
    uint64_t microseconds;          /* from the first to the last event */
    uint64_t peak_bytes, peak_blocks;       /* live at once, as asked for */
    uint64_t end_bytes, end_blocks;         /* live at the end */
    uint64_t handed;                /* blocks that another thread than their own freed or resized */
    uint64_t inherited;             /* of the events: blocks that a forked child found */
    uint64_t unknown;               /* frees of blocks that were never seen; left out */
    uint64_t unfreed;               /* blocks whose address came again without a free; never freed here either */
    uint64_t lost;                  /* events that the recorder could not write */
    uint64_t longest;               /* bytes of the longest segment */
} TraceHeader;

typedef struct {
    uint64_t at;                    /* offset in the file */
    uint64_t microseconds;          /* of its first operation, since the first event of all */
    uint32_t bytes, events, slice, thread;
} TraceSegment;

typedef struct { uint32_t slots, ends; } TraceThread;       /* own slots; 1: the thread ended before the program did */
#endif
