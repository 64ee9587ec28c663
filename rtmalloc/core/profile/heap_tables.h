/* What the heap profile knows of call stacks and of large blocks: tables in one mapping of bounded size.
 *
 * Strings, frames and stacks are kept once each and never leave, so that a number stays what it is until the recording ends.
 * A table that is full answers with number 0, and what could not be kept is counted. All of it is under the profile's lock;
 * an entry is complete before the count says that it is there, so that who writes a profile reads without the lock. */
#ifndef RT_HEAP_TABLES_H
#define RT_HEAP_TABLES_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include "../base/platform.h"
#include "../base/unwind.h"
#include "python_walk.h"

enum {
    RT_HEAP_STRINGS = 1 << 15,
    RT_HEAP_TEXT = 1 << 22,     /* bytes of all strings */
    RT_HEAP_FRAMES = 1 << 16,
    RT_HEAP_STACKS = 1 << 16,
    RT_HEAP_NODES = 1 << 21,    /* frames of all stacks */
    RT_HEAP_LARGE = 1 << 16,    /* live large blocks; the index of a table has twice as many places */
    RT_HEAP_NATIVE = 32,        /* native frames of a stack */
    RT_HEAP_PYTHON = 80,        /* Python frames of a stack */
    RT_HEAP_NAME = 512,         /* bytes of a string */
    RT_HEAP_THREADS = 1 << 12,  /* names of threads: a program may have a new one for each */
    RT_HEAP_LIVES = 24,         /* steps of life times, each twice as long as the one before */
    RT_HEAP_LIFE_SHIFT = 2,     /* the first is up to 4 ms, the clock's own step */
    RT_HEAP_CUT = 1             /* frame 1: outer frames were left out */
};

typedef struct { uint64_t hash; uint32_t at, length; } rt_heap_string;
/* kind: 0 native, 1 Python, 2 a remark, 3 a coroutine of Python */
typedef struct { uint64_t address; uint32_t file, name, line, kind; } rt_heap_frame;
typedef struct {
    uint64_t hash;
    uint32_t first, depth;      /* its frames in `node`, the innermost first */
    uint64_t samples, objects, bytes; /* since the recording began; objects in 256ths */
} rt_heap_stack;
typedef struct {
    const void *address;        /* NULL: the place is free */
    uint64_t bytes, begin;
    uint32_t stack, thread;
} rt_heap_large;

typedef struct {
    uint64_t interval;
    uint64_t seed;
    uint32_t strings, text, frames, stacks, nodes, larges, left_out, threads;
    uint64_t sampled, freed;    /* blocks followed since the recording began, and of them those that are gone */
    uint32_t string_index[2 * RT_HEAP_STRINGS], frame_index[2 * RT_HEAP_FRAMES], stack_index[2 * RT_HEAP_STACKS];
    rt_heap_string string[RT_HEAP_STRINGS];
    rt_heap_frame frame[RT_HEAP_FRAMES];
    rt_heap_stack stack[RT_HEAP_STACKS];
    uint32_t node[RT_HEAP_NODES];
    rt_heap_large large[2 * RT_HEAP_LARGE];
    char texts[RT_HEAP_TEXT];
    uint64_t life[RT_HEAP_STACKS][RT_HEAP_LIVES]; /* bytes that lived so long and are gone, by stack */
} rt_heap_tables;

/* A call stack as it was found, before it has a number. */
typedef struct {
    uint32_t native, python, cut, name_length;
    uint64_t pc[RT_HEAP_NATIVE];
    rt_python_frame frame[RT_HEAP_PYTHON];
    char thread[16];
} rt_heap_found;

static const rt_python_walk *rt_python_walker; /* the extension's, once it is there */

/* Whether there are Python frames: 0 = the program has not imported the extension, 1 = yes, 2 = they are not laid out as known. */
static inline uint32_t rt_heap_python_how(void) {
    const rt_python_walk *walker = __atomic_load_n(&rt_python_walker, __ATOMIC_ACQUIRE);
    return walker ? walker->walk ? 1 : 2 : 0;
}

static inline uint64_t rt_hash(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}
static inline uint64_t rt_hash_text(const char *text, size_t length) {
    uint64_t hash = length, word;
    for (; length >= 8; text += 8, length -= 8) { memcpy(&word, text, 8); hash = rt_hash(hash, word); }
    word = 0;
    memcpy(&word, text, length);
    return rt_hash(hash, word);
}

static inline uint64_t rt_heap_interval(const void *tables) { return ((const rt_heap_tables *)tables)->interval; }

static inline void rt_heap_begin(rt_heap_tables *t, uint64_t interval) {
    rt_madvise(t, sizeof *t, MADV_DONTNEED);
    t->interval = interval;
    t->seed = rt_os_random() ^ (uint64_t)(uintptr_t)t ^ rt_os_wall_ms() << 20;
    t->strings = t->stacks = t->nodes = 1;
    t->frames = RT_HEAP_CUT + 1;
    t->frame[RT_HEAP_CUT].kind = 2;
}

/* The caller's stack, on which `f` lies; nothing is held, and nothing of it allocates. */
static inline void rt_heap_look(rt_heap_found *f) {
    const rt_python_walk *walker = __atomic_load_n(&rt_python_walker, __ATOMIC_ACQUIRE);
    uintptr_t loop = 0;
    f->native = f->python = f->cut = 0;
    if (walker && walker->walk) f->python = walker->walk(f->frame, RT_HEAP_PYTHON, &loop);
    f->native = rt_unwind(f->pc, RT_HEAP_NATIVE, f->python ? loop : 0, (uintptr_t)(f + 1) - 1);
    f->cut = f->python == RT_HEAP_PYTHON || (!f->python && f->native == RT_HEAP_NATIVE);
    f->thread[0] = 0;
    rt_system_spared(SYS_prctl, PR_GET_NAME, f->thread);
    f->thread[15] = 0;
}

/* The number of a string, which becomes one unless `room` is 0. */
static inline uint32_t rt_heap_string_in(rt_heap_tables *t, const char *text, size_t length, int room) {
    uint64_t hash = rt_hash_text(text, length);
    uint32_t place = (uint32_t)hash & (2 * RT_HEAP_STRINGS - 1), n;
    for (; (n = t->string_index[place]); place = (place + 1) & (2 * RT_HEAP_STRINGS - 1))
        if (t->string[n].hash == hash && t->string[n].length == length
            && !memcmp(t->texts + t->string[n].at, text, length)) return n;
    if (!room || t->strings == RT_HEAP_STRINGS || length > RT_HEAP_TEXT - t->text) return 0;
    memcpy(t->texts + t->text, text, length);
    n = t->strings;
    t->string[n] = (rt_heap_string){hash, t->text, (uint32_t)length};
    t->text += (uint32_t)length;
    t->string_index[place] = n;
    __atomic_store_n(&t->strings, n + 1, __ATOMIC_RELEASE);
    return n;
}

static inline uint32_t rt_heap_string_of(rt_heap_tables *t, const char *text, size_t length) {
    return rt_heap_string_in(t, text, length, 1);
}

static inline uint32_t rt_heap_frame_of(rt_heap_tables *t, rt_heap_frame frame) {
    uint64_t hash = rt_hash(rt_hash(frame.address, (uint64_t)frame.file << 32 | frame.name), (uint64_t)frame.kind << 32 | frame.line);
    uint32_t place = (uint32_t)hash & (2 * RT_HEAP_FRAMES - 1), n;
    for (; (n = t->frame_index[place]); place = (place + 1) & (2 * RT_HEAP_FRAMES - 1))
        if (!memcmp(&t->frame[n], &frame, sizeof frame)) return n;
    if (t->frames == RT_HEAP_FRAMES) return 0;
    n = t->frames;
    t->frame[n] = frame;
    t->frame_index[place] = n;
    __atomic_store_n(&t->frames, n + 1, __ATOMIC_RELEASE);
    return n;
}

static inline uint32_t rt_heap_python_of(rt_heap_tables *t, const rt_python_frame *at) {
    char text[RT_HEAP_NAME];
    rt_heap_frame frame = {0};
    size_t length = rt_python_walker->text(at->code, 0, text, sizeof text);
    frame.file = rt_heap_string_of(t, text, length);
    length = rt_python_walker->text(at->code, 1, text, sizeof text);
    frame.name = rt_heap_string_of(t, text, length);
    frame.line = (uint32_t)rt_python_walker->line(at);
    frame.kind = at->coroutine ? 3 : 1;
    if (!frame.file || !frame.name) return 0;
    return rt_heap_frame_of(t, frame);
}

/* The number of a stack; 0 when there is no room. What found none, of it or of its frames, is counted once. By the thread that found it: its code objects are alive. */
static inline uint32_t rt_heap_stack_of(rt_heap_tables *t, const rt_heap_found *f) {
    uint32_t nodes[RT_HEAP_NATIVE + RT_HEAP_PYTHON + 1], depth = 0, lost = 0, i, place, n;
    uint64_t hash;
    for (i = 0; i < f->native; i++) nodes[depth++] = rt_heap_frame_of(t, (rt_heap_frame){.address = f->pc[i]});
    for (i = 0; i < f->python; i++) nodes[depth++] = rt_heap_python_of(t, &f->frame[i]);
    for (i = 0; i < depth; i++) lost |= !nodes[i];
    t->left_out += lost;
    if (f->cut) nodes[depth++] = RT_HEAP_CUT;
    hash = rt_hash_text((const char *)nodes, depth * sizeof nodes[0]);
    place = (uint32_t)hash & (2 * RT_HEAP_STACKS - 1);
    for (; (n = t->stack_index[place]); place = (place + 1) & (2 * RT_HEAP_STACKS - 1))
        if (t->stack[n].hash == hash && t->stack[n].depth == depth
            && !memcmp(&t->node[t->stack[n].first], nodes, depth * sizeof nodes[0])) return n;
    if (t->stacks == RT_HEAP_STACKS || depth > RT_HEAP_NODES - t->nodes) { t->left_out += !lost; return 0; }
    memcpy(&t->node[t->nodes], nodes, depth * sizeof nodes[0]);
    n = t->stacks;
    t->stack[n] = (rt_heap_stack){.hash = hash, .first = t->nodes, .depth = depth};
    t->nodes += depth;
    t->stack_index[place] = n;
    __atomic_store_n(&t->stacks, n + 1, __ATOMIC_RELEASE);
    return n;
}

static inline uint32_t rt_heap_thread_of(rt_heap_tables *t, const rt_heap_found *f) {
    uint32_t before = t->strings, n = rt_heap_string_in(t, f->thread, strlen(f->thread), t->threads < RT_HEAP_THREADS);
    t->threads += t->strings - before;
    return n;
}

/* A followed block that stands for `bytes` is gone, after `life` milliseconds. */
static inline void rt_heap_freed(void *tables, uint32_t stack, uint64_t bytes, uint64_t life) {
    rt_heap_tables *t = tables;
    uint32_t step = 0;
    for (life >>= RT_HEAP_LIFE_SHIFT; life && step < RT_HEAP_LIVES - 1; life >>= 1) step++;
    t->life[stack][step] += bytes;
    t->freed++;
}

/* Whether a block of `bytes` is chosen: with probability bytes / interval, each for itself. Without a lock. */
static inline int rt_heap_draw(rt_heap_tables *t, uint64_t bytes) {
    uint64_t x = __atomic_add_fetch(&t->seed, 0x9E3779B97F4A7C15u, __ATOMIC_RELAXED);
    if (bytes >= t->interval) return 1;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return (x ^ x >> 31) % t->interval < bytes;
}

/* ---- large blocks by address: a table without gaps between an entry's place and where it lies */
static inline uint32_t rt_heap_large_place(const void *address) {
    return (uint32_t)(rt_hash(0, (uint64_t)(uintptr_t)address >> 12) >> 7) & (2 * RT_HEAP_LARGE - 1);
}

static inline int rt_heap_large_add(rt_heap_tables *t, rt_heap_large entry) {
    uint32_t place = rt_heap_large_place(entry.address);
    if (t->larges == RT_HEAP_LARGE) { t->left_out++; return 0; }
    while (t->large[place].address && t->large[place].address != entry.address) place = (place + 1) & (2 * RT_HEAP_LARGE - 1);
    t->larges += t->large[place].address == NULL;
    t->large[place] = entry;
    return 1;
}

static inline void rt_heap_large_remove(rt_heap_tables *t, const void *address, uint64_t now) {
    uint32_t place = rt_heap_large_place(address), next, home;
    uint64_t bytes;
    while (t->large[place].address && t->large[place].address != address) place = (place + 1) & (2 * RT_HEAP_LARGE - 1);
    if (!t->large[place].address) return;
    bytes = t->large[place].bytes;
    rt_heap_freed(t, t->large[place].stack, bytes > t->interval ? bytes : t->interval, now - t->large[place].begin);
    t->larges--;
    for (next = place;;) {
        next = (next + 1) & (2 * RT_HEAP_LARGE - 1);
        if (!t->large[next].address) break;
        home = rt_heap_large_place(t->large[next].address);
        if (((next - home) & (2 * RT_HEAP_LARGE - 1)) >= ((next - place) & (2 * RT_HEAP_LARGE - 1))) {
            t->large[place] = t->large[next];
            place = next;
        }
    }
    t->large[place].address = NULL;
}
#endif
