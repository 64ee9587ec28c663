/* What the recorder writes and trace_make reads: one file per process, in the machine's own byte order.
 *
 * The file is mapped and shared: counters and events are in the page cache from the moment they are written, so that
 * neither a crash nor exec nor SIGKILL loses any. It begins with a RawHeader in RAW_HEADER bytes; chunks of RAW_CHUNK
 * bytes follow, each handed to one thread at a time. An event whose `op` is 0 was not written. */
#ifndef BENCH_HARNESS_RAW_H
#define BENCH_HARNESS_RAW_H
#include <stdint.h>

#define RAW_MAGIC "bhraw\0\0\1"
enum {
    RAW_HEADER = 4096,                  /* bytes */
    RAW_CHUNK = 65536,                  /* bytes */
    RAW_EVENTS = RAW_CHUNK / 32,        /* of a chunk */
    RAW_TEXT = 1024,                    /* bytes of a command line or path */
    RAW_THREAD_BITS = 24,
    RAW_SIZE_BITS = 56,
    RAW_LARGE = 131072                  /* bytes from which on the touched pages of a block are counted */
};
enum {
    RAW_MALLOC = 1, RAW_CALLOC, RAW_ALIGNED, RAW_FREE,
    RAW_RESIZE,                         /* realloc begins: its old block goes */
    RAW_RESIZED,                        /* and this one comes, with the size that was asked for */
    RAW_RESIZE_FAILED,                  /* or the old one stays */
    RAW_TOUCHED,                        /* `size` pages of the block, from the next event on it goes or stays */
    RAW_THREAD_END
};

typedef struct {
    uint64_t order;                     /* position in the order of all events << RAW_THREAD_BITS | thread, from 1 */
    uint64_t moment;                    /* ns since the file was begun << 8 | op */
    uint64_t address;
    uint64_t size;                      /* log2 of the alignment << RAW_SIZE_BITS | bytes */
} RawEvent;

typedef struct {
    char magic[8];
    int64_t pid, parent;                /* processes */
    uint64_t page;                      /* bytes */
    uint64_t began;                     /* CLOCK_REALTIME, ns */
    uint64_t events;                    /* numbered so far: positions are 0 .. events-1 */
    uint64_t chunks;                    /* handed out */
    uint64_t threads;
    uint64_t lost;                      /* events for which no chunk could be had */
    uint64_t ended;                     /* 1: the process ended by exit(), and its large live blocks were looked at */
    uint64_t inherited;                 /* events of the parent's file that came before the fork */
    char parent_file[RAW_TEXT];         /* empty: not a fork, or of a process that was not recorded */
    char command[RAW_TEXT];             /* /proc/self/cmdline, arguments end with a NUL */
} RawHeader;
#endif
