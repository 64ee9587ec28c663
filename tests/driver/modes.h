/* The modes of the stress program; each is one function of (threads, operations, seed) that fails or returns. */
#ifndef DRIVER_MODES_H
#define DRIVER_MODES_H
#include "support.h"
#include <pthread.h>
#include <stdbool.h>

typedef struct { int threads; long operations; uint64_t seed; } Run;
typedef struct { const char *name; void (*mode)(const Run *); } Mode;

/* The main program: MODE THREADS OPERATIONS SEED. Runs one of `modes` and says so, without the line's end. */
void modes_run(const Mode *modes, size_t modes_count, int count, char **words);

/* storm.c: random work of many threads */
void mode_churn(const Run *run);    /* private blocks, hand-over through a shared table, resize, free */
void mode_grow(const Run *run);     /* realloc chains into the megabytes and back */
void mode_classes(const Run *run);  /* every size, then every size and alignment pair, of one thread */
void mode_freeonly(const Run *run); /* some threads only allocate, others only free */
/* lifetimes.c: threads that come and go */
void mode_orphans(const Run *run);  /* threads end while their objects live; others free them, and adopt */
void mode_first(const Run *run);    /* each entry point as the first call of a thread */
void mode_keys(const Run *run);     /* destructors of thread-specific data, all four iterations */
void mode_short(const Run *run);    /* very many short threads hand objects on; RSS stays level */
void mode_idle(const Run *run);     /* very many threads at once */
/* process.c: fork, cancellation, exit, and a relay of short threads in the middle of a storm */
void mode_relay(const Run *run);
void mode_fork(const Run *run);
void mode_cancel(const Run *run);
void mode_exit(const Run *run);

/* ---- the storm that the other modes use as weather (storm.c) */
enum { STORM_BLOCKS = 256, SHARED_BLOCKS = 1024 };

typedef struct Storm {
    Random random;
    size_t most;                 /* bytes of the largest block */
    Block *mine[STORM_BLOCKS];   /* descriptors, themselves from the allocator under test; NULL = empty */
} Storm;

/* One random step: allocate, free, resize, or swap a block with the shared table. */
void storm_step(Storm *s);
/* Check and free everything of one thread. */
void storm_end(Storm *s);
/* Check and free everything in the shared table (also that of a parent process, in a child). Returns how many. */
long shared_clear(Random *r);
/* A descriptor with its block, and the end of both. */
Block *pair_new(Random *r, size_t most);
void pair_free(Block *b, Random *r);
/* Put `b` (or NULL) into a slot of the shared table; what was there. */
Block *shared_swap(uint64_t slot, Block *b);

/* pthread_create and pthread_join that fail loudly. */
pthread_t thread_start(void *(*f)(void *), void *argument);
void thread_join(pthread_t t);
#endif
