/* Restartable sequences: how a thread changes a bin that belongs to the CPU it runs on, without a lock and without an
 * atomic instruction. Compiled in by RT_PERCPU=1, for x86-64 Linux; elsewhere, and where the process has no
 * registration with the kernel, the caches are those of threads (percpu.pxd).
 *
 * The kernel's part (rseq(2), Linux 4.18): every thread has a small area, `struct rseq`, in which the kernel writes the
 * number of the CPU (cpu_id) and from which it reads the address of a descriptor (rseq_cs). A descriptor names a range
 * of code. When the kernel takes the CPU away from a thread (preemption, migration) or delivers a signal to it while it
 * executes inside that range, the thread goes on at the descriptor's abort address instead. So what the range does
 * happens on one CPU, with nobody in between, or is begun anew: provided that its last instruction is the only one that
 * others may see. That one is called the commit.
 *
 * The registration is glibc's (2.35 and later), never our own: there is one area per thread, and whoever registers a
 * second one breaks the other. glibc says where it is: __rseq_offset from the thread pointer; __rseq_size is 0 when
 * there is none (old kernel, GLIBC_TUNABLES=glibc.pthread.rseq=0, valgrind).
 *
 * A bin of a CPU is one word, so that one store commits:
 *
 *     word = object | count << 48      object: the first free one, 0 = the bin is empty; count: objects in the bin
 *
 * The first word of a free object is the bin's word without it: link and count in one. Hence a pop stores what it finds
 * in the object, and a push stores the object with the count plus one. (Addresses of the arena have 47 bits;
 * percpu_enable looks.) */
#ifndef RT_PERCPU_H
#define RT_PERCPU_H
#include "base/atomics.h"
#include <stddef.h>
#include <stdint.h>

#if defined RT_PERCPU && RT_PERCPU && defined __x86_64__ && defined __linux__ && !defined __ILP32__
enum { RT_PERCPU_BUILT = 1 };
#else
enum { RT_PERCPU_BUILT = 0 };
#endif

/* What the sequences know of a Heap and a Bin (heap.pxd; entry.pxd asserts them), and what they answer. */
enum {
    RT_PERCPU_BEAT = 4,       /* offset of Heap.beat */
    RT_PERCPU_LENGTH = 12,    /* offset of Bin.max_length */
    RT_PERCPU_COUNT_SHIFT = 48,
    RT_CPUS = 8192,           /* CPU numbers that have a place in the tables: the kernel's own bound on x86-64 */
    RT_PERCPU_DONE = 0,
    RT_PERCPU_BEATS = 1,      /* done, and the heap's heartbeat is due */
    RT_PERCPU_FULL = 2,       /* not done: the bin is full, or there is no heap to be had here */
    RT_PERCPU_CHANGED = 3,    /* not done: the word is not the expected one */
    RT_PERCPU_ELSEWHERE = 4   /* not done: the thread is not on the heap's CPU, or that heap is stopped */
};

#if defined RT_PERCPU && RT_PERCPU && defined __x86_64__ && defined __linux__ && !defined __ILP32__

typedef struct {
    int64_t offset;           /* of the calling thread's struct rseq from its thread pointer; 0 = the mode is off */
    uint64_t padding[7];
    void *heaps[RT_CPUS];     /* [cpu]: the heap that sequences use; NULL: none yet, or stopped */
    void *homes[RT_CPUS];     /* [cpu]: the same, but set once and for good: what slow paths use */
    uint64_t aborts;          /* sequences that were begun anew */
} rt_percpu_state;
static rt_percpu_state rt_percpu __attribute__((aligned(64)));

/* Weak: glibc before 2.35 and other C libraries have neither. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* Offset of the area from the thread pointer, or 0 when there is none. The kernel's fields up to rseq_cs are 16 bytes
 * (glibc before 2.40 says 32 where it registered 20 used ones). The area is never at the thread pointer itself. */
static inline int64_t rt_percpu_find(void) { return &__rseq_size && &__rseq_offset && __rseq_size >= 16 ? __rseq_offset : 0; }

/* The CPU that the calling thread runs on, which may be another one by the time the caller looks at the answer. At
 * least RT_CPUS when the mode is off, or the thread has no registration (cpu_id is -1 or -2 then). */
static inline uint32_t rt_percpu_cpu(void) {
    int64_t offset = __atomic_load_n(&rt_percpu.offset, __ATOMIC_ACQUIRE);
    if (offset == 0) return RT_CPUS;
    return *(volatile uint32_t *)((char *)__builtin_thread_pointer() + offset + 4);
}

/* The parts that all sequences share. struct rseq: cpu_id_start at 0, cpu_id at 4, rseq_cs at 8.
 *
 * Label 9 is the descriptor: version and flags, first address, length up to and including the commit, abort address.
 * Label 4 is where the kernel sends an aborted thread; the four bytes before it are the signature that glibc registered,
 * dressed as the operand of an instruction that traps. Nothing is to be undone: before the commit a sequence has written
 * only registers and the first word of an object that is the caller's. So it counts, and begins anew at label 1.
 * (After the commit rseq_cs is left as it is: the kernel clears it when it finds the thread outside of the range.) */
#define RT_RSEQ_DESCRIPTOR                                                                                             \
    ".pushsection .data.rel.ro.rt_rseq, \"aw\", @progbits\n"                                                           \
    ".balign 32\n"                                                                                                     \
    "9: .long 0, 0\n"                                                                                                  \
    "   .quad 2f, 3f - 2f, 4f\n"                                                                                       \
    ".popsection\n"                                                                                                    \
    ".pushsection .text.unlikely.rt_rseq, \"ax\", @progbits\n"                                                         \
    "   .byte 0x0f, 0xb9, 0x3d\n"                                                                                      \
    "   .long 0x53053053\n"                                                                                            \
    "4: lock incq %[aborts]\n"                                                                                         \
    "   jmp 1f\n"                                                                                                      \
    ".popsection\n"

/* Take an object out of a bin of the CPU that the thread is on; NULL when that has to be done otherwise: the bin is
 * empty, the CPU has no heap yet or a stopped one, the mode is off. `bin` is the bin's byte offset in a Heap. */
static inline void *rt_percpu_pop(size_t bin) {
    uint64_t p, area, heap;
    __asm__ volatile(
        RT_RSEQ_DESCRIPTOR
        "1: movq %[offset], %[area]\n"
        "   testq %[area], %[area]\n"            /* the mode is off: no area to write to */
        "   jz 5f\n"
        "   leaq 9b(%%rip), %[p]\n"
        "   movq %[p], %%fs:8(%[area])\n"        /* armed: from label 2 on the kernel watches */
        "2: movl %%fs:4(%[area]), %k[area]\n"    /* the CPU: true until the commit, or the commit is never reached */
        "   cmpl %[cpus], %k[area]\n"            /* no registration (-1, -2), or a number beyond the tables */
        "   jae 5f\n"
        "   leaq %[heaps], %[heap]\n"
        "   movq (%[heap],%[area],8), %[heap]\n" /* inside the sequence, so that stopping a heap stops this */
        "   testq %[heap], %[heap]\n"
        "   jz 5f\n"
        "   movq (%[heap],%[bin]), %[p]\n"       /* the bin's word ... */
        "   shlq $16, %[p]\n"
        "   shrq $16, %[p]\n"                    /* ... without the count: the object */
        "   jz 5f\n"
        "   movq (%[p]), %[area]\n"              /* the word that was there before it was pushed. Nobody else has popped */
        "   movq %[area], (%[heap],%[bin])\n"    /* it meanwhile, so it is a free object's still. Commit. */
        "3:\n"
        ".pushsection .text.unlikely.rt_rseq, \"ax\", @progbits\n"
        "5: xorl %k[p], %k[p]\n"
        "   jmp 6f\n"
        ".popsection\n"
        "6:\n"
        : [p] "=&r"(p), [area] "=&r"(area), [heap] "=&r"(heap), [aborts] "+m"(rt_percpu.aborts)
        : [offset] "m"(rt_percpu.offset), [heaps] "m"(rt_percpu.heaps), [cpus] "i"(RT_CPUS), [bin] "r"(bin)
        : "cc", "memory");
    return (void *)p;
}

/* Put an object into a bin of the CPU that the thread is on: RT_PERCPU_DONE, _BEATS or _FULL. */
static inline int rt_percpu_push(void *p, size_t bin) {
    __asm__ goto(
        RT_RSEQ_DESCRIPTOR
        "1: movq %[offset], %%rax\n"
        "   testq %%rax, %%rax\n"
        "   jz %l[full]\n"
        "   leaq 9b(%%rip), %%rdx\n"
        "   movq %%rdx, %%fs:8(%%rax)\n"         /* armed */
        "2: movl %%fs:4(%%rax), %%ecx\n"
        "   cmpl %[cpus], %%ecx\n"
        "   jae %l[full]\n"
        "   leaq %[heaps], %%rdx\n"
        "   movq (%%rdx,%%rcx,8), %%rdx\n"
        "   testq %%rdx, %%rdx\n"
        "   jz %l[full]\n"
        "   movq (%%rdx,%[bin]), %%rax\n"        /* the bin's word */
        "   movq %%rax, %%rcx\n"
        "   shrq $48, %%rcx\n"                   /* its count */
        "   cmpw %c[length](%%rdx,%[bin]), %%cx\n"
        "   jae %l[full]\n"
        "   movq %%rax, (%[p])\n"                /* the link: into an object that is still the caller's alone */
        "   incl %%ecx\n"
        "   shlq $48, %%rcx\n"
        "   orq %[p], %%rcx\n"
        "   movq %%rcx, (%%rdx,%[bin])\n"        /* commit */
        "3: decl %c[beat](%%rdx)\n"              /* no longer watched: two threads may lose a beat, which is only a beat */
        "   js %l[beats]\n"
        :
        : [aborts] "m"(rt_percpu.aborts), [offset] "m"(rt_percpu.offset), [heaps] "m"(rt_percpu.heaps),
          [cpus] "i"(RT_CPUS), [length] "i"(RT_PERCPU_LENGTH), [beat] "i"(RT_PERCPU_BEAT), [p] "r"(p), [bin] "r"(bin)
        : "rax", "rcx", "rdx", "cc", "memory"
        : full, beats);
    return RT_PERCPU_DONE;
beats:
    return RT_PERCPU_BEATS;
full:
    return RT_PERCPU_FULL;
}

/* If the thread is on `cpu`, whose heap is `heap` and not stopped, and *word is `seen`, make it `next`:
 * RT_PERCPU_DONE, _CHANGED or _ELSEWHERE. The mode is on. */
static inline int rt_percpu_swap(uint32_t cpu, void *heap, uint64_t *word, uint64_t seen, uint64_t next) {
    rt_storm(); /* in builds that look for trouble: leave the CPU now, so that the answer is not always DONE */
    __asm__ goto(
        RT_RSEQ_DESCRIPTOR
        "1: movq %[offset], %%rax\n"
        "   leaq 9b(%%rip), %%rdx\n"
        "   movq %%rdx, %%fs:8(%%rax)\n"         /* armed */
        "2: cmpl %%fs:4(%%rax), %[cpu]\n"
        "   jne %l[elsewhere]\n"
        "   movl %[cpu], %%eax\n"
        "   leaq %[heaps], %%rdx\n"
        "   cmpq (%%rdx,%%rax,8), %[heap]\n"
        "   jne %l[elsewhere]\n"
        "   cmpq (%[word]), %[seen]\n"
        "   jne %l[changed]\n"
        "   movq %[next], (%[word])\n"           /* commit */
        "3:\n"
        :
        : [aborts] "m"(rt_percpu.aborts), [offset] "m"(rt_percpu.offset), [heaps] "m"(rt_percpu.heaps),
          [cpu] "r"(cpu), [heap] "r"(heap), [word] "r"(word), [seen] "r"(seen), [next] "r"(next)
        : "rax", "rdx", "cc", "memory"
        : changed, elsewhere);
    return RT_PERCPU_DONE;
changed:
    return RT_PERCPU_CHANGED;
elsewhere:
    return RT_PERCPU_ELSEWHERE;
}

#else /* the mode is not compiled in: nothing of it remains */

typedef struct { int64_t offset; void *heaps[1], *homes[1]; uint64_t aborts; } rt_percpu_state;
static rt_percpu_state rt_percpu;
static inline int64_t rt_percpu_find(void) { return 0; }
static inline uint32_t rt_percpu_cpu(void) { return RT_CPUS; }
static inline void *rt_percpu_pop(size_t bin) { return (void)bin, (void *)0; }
static inline int rt_percpu_push(void *p, size_t bin) { return (void)p, (void)bin, RT_PERCPU_FULL; }
static inline int rt_percpu_swap(uint32_t cpu, void *heap, uint64_t *word, uint64_t seen, uint64_t next) {
    return (void)cpu, (void)heap, (void)word, (void)seen, (void)next, RT_PERCPU_ELSEWHERE;
}
#endif
#endif
