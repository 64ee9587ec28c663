/* Restartable sequences: a thread changes a bin of the CPU it runs on without an atomic instruction.
 * Compiled in by RT_PERCPU=1, for x86-64 Linux; elsewhere, and where the process has no registration with the
 * kernel, the caches are those of threads (percpu.pxd).
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
 * The bins are those of a thread's heap: arrays of pointers, whose `top` is the one word that a sequence changes. What a
 * push writes above the top before it commits is seen by nothing.
 *
 * More than one word (the block of a bin, its limit) changes only while the heap is *stopped*: taken out of the table that
 * sequences read, after which the kernel aborts the one that may be under way (cpu_heap.pxd). */
#ifndef RT_PERCPU_H
#define RT_PERCPU_H
#include "../base/atomics.h"
#include <stddef.h>
#include <stdint.h>

#if defined RT_PERCPU && RT_PERCPU && defined __x86_64__ && defined __linux__ && !defined __ILP32__
enum { RT_PERCPU_BUILT = 1 };
#else
enum { RT_PERCPU_BUILT = 0 };
#endif

/* What the sequences know of a Heap and a Bin (types.pxd; _core.pyx asserts them), and what they answer. */
enum {
    RT_PERCPU_BEAT = 4,       /* offset of Heap.beat */
    RT_PERCPU_LIMIT = 8,      /* offset of Bin.limit; Bin.top is at 0 */
    RT_CPUS = 8192,           /* CPU numbers that have a place in the tables: the kernel's own bound on x86-64 */
    RT_PERCPU_DONE = 0,
    RT_PERCPU_BEATS = 1,      /* done, and the heap's heartbeat is due */
    RT_PERCPU_FULL = 2        /* not done: the bin is full, or there is no heap to be had here */
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
 * only registers, cells above a bin's top, and memory of the caller's. So it counts, and begins anew at label 1.
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

/* The beginning of a sequence, for the registers area, cpu and heap: armed, and on a CPU whose heap is in the table; else on
 * to label `miss`. */
#define RT_RSEQ_ENTER(area, cpu, heap, miss)                                                                           \
    "1: movq %[offset], " area "\n"                                                                                    \
    "   testq " area ", " area "\n"               /* the mode is off: no area to write to */                           \
    "   jz " miss "\n"                                                                                                 \
    "   leaq 9b(%%rip), " heap "\n"                                                                                    \
    "   movq " heap ", %%fs:8(" area ")\n"        /* armed: from label 2 on the kernel watches */                      \
    "2: movl %%fs:4(" area "), " cpu "\n"         /* the CPU: true until the commit, or the commit is never reached */ \
    "   cmpl %[cpus], " cpu "\n"                  /* no registration (-1, -2), or a number beyond the tables */        \
    "   jae " miss "\n"                                                                                                \
    "   leaq %[heaps], " heap "\n"

/* Take an object out of a bin of the CPU that the thread is on; NULL when that has to be done otherwise: the bin is
 * empty, the CPU has no heap yet or a stopped one, the mode is off. `bin` is the bin's byte offset in a Heap. */
static inline void *rt_percpu_pop(size_t bin) {
    uint64_t p, area, heap;
    __asm__ volatile(
        RT_RSEQ_DESCRIPTOR
        RT_RSEQ_ENTER("%[area]", "%k[area]", "%[heap]", "5f")
        "   movq (%[heap],%[area],8), %[heap]\n" /* inside the sequence, so that stopping a heap stops this */
        "   testq %[heap], %[heap]\n"
        "   jz 5f\n"
        "   movq (%[heap],%[bin]), %[area]\n"    /* the top */
        "   movq (%[area]), %[p]\n"              /* the newest entry, or the NULL below all */
        "   testq %[p], %[p]\n"
        "   jz 5f\n"
        "   subq $8, %[area]\n"
        "   movq %[area], (%[heap],%[bin])\n"    /* commit */
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
        RT_RSEQ_ENTER("%%rax", "%%eax", "%%rdx", "%l[full]")
        "   movq (%%rdx,%%rax,8), %%rdx\n"
        "   testq %%rdx, %%rdx\n"
        "   jz %l[full]\n"
        "   movq (%%rdx,%[bin]), %%rax\n"        /* the top */
        "   cmpq %c[limit](%%rdx,%[bin]), %%rax\n"
        "   je %l[full]\n"
        "   movq %[p], 8(%%rax)\n"               /* above the top: nothing sees it before the commit */
        "   addq $8, %%rax\n"
        "   movq %%rax, (%%rdx,%[bin])\n"        /* commit */
        "3: decl %c[beat](%%rdx)\n"              /* no longer watched: two threads may lose a beat, which is only a beat */
        "   js %l[beats]\n"
        :
        : [aborts] "m"(rt_percpu.aborts), [offset] "m"(rt_percpu.offset), [heaps] "m"(rt_percpu.heaps),
          [cpus] "i"(RT_CPUS), [limit] "i"(RT_PERCPU_LIMIT), [beat] "i"(RT_PERCPU_BEAT), [p] "r"(p), [bin] "r"(bin)
        : "rax", "rdx", "cc", "memory"
        : full, beats);
    return RT_PERCPU_DONE;
beats:
    return RT_PERCPU_BEATS;
full:
    return RT_PERCPU_FULL;
}

/* The two ends of a sequence that moves up to `count` entries of a bin of `heap`, if the thread is on that heap's CPU: `done`
 * counts them, `top` is the bin's. Between them stands what moves one, which goes on at label 8 where there is no other. */
#define RT_RSEQ_MANY                                                                                                   \
    RT_RSEQ_DESCRIPTOR                                                                                                 \
    RT_RSEQ_ENTER("%[area]", "%k[area]", "%[table]", "5f")                                                             \
    "   xorl %k[done], %k[done]\n"                                                                                     \
    "   cmpq (%[table],%[area],8), %[heap]\n"                                                                          \
    "   jne 5f\n"                                                                                                      \
    "   movq (%[heap],%[bin]), %[top]\n"                                                                               \
    "7: cmpq %[count], %[done]\n"                                                                                      \
    "   jae 8f\n"
#define RT_RSEQ_MANY_END                                                                                               \
    "   incq %[done]\n"                                                                                                \
    "   jmp 7b\n"                                                                                                      \
    "8: movq %[top], (%[heap],%[bin])\n"     /* commit */                                                              \
    "3:\n"                                                                                                             \
    ".pushsection .text.unlikely.rt_rseq, \"ax\", @progbits\n"                                                         \
    "5: xorl %k[done], %k[done]\n"                                                                                     \
    "   jmp 6f\n"                                                                                                      \
    ".popsection\n"                                                                                                    \
    "6:\n"

/* Put up to `count` objects of `from` into a bin of `heap`, if the thread is on that heap's CPU; how many. */
static inline uint32_t rt_percpu_put(void *heap, size_t bin, void *const *from, uint64_t count) {
    uint64_t area, table, top, done, x;
    rt_storm();
    __asm__ volatile(
        RT_RSEQ_MANY
        "   cmpq %c[limit](%[heap],%[bin]), %[top]\n"
        "   je 8f\n"
        "   movq (%[from],%[done],8), %[x]\n"
        "   movq %[x], 8(%[top])\n"
        "   addq $8, %[top]\n"
        RT_RSEQ_MANY_END
        : [area] "=&r"(area), [table] "=&r"(table), [top] "=&r"(top), [done] "=&r"(done), [x] "=&r"(x),
          [aborts] "+m"(rt_percpu.aborts)
        : [offset] "m"(rt_percpu.offset), [heaps] "m"(rt_percpu.heaps), [cpus] "i"(RT_CPUS), [limit] "i"(RT_PERCPU_LIMIT),
          [heap] "r"(heap), [bin] "r"(bin), [from] "r"(from), [count] "m"(count)
        : "cc", "memory");
    return (uint32_t)done;
}

/* Take up to `count` objects, the newest ones, out of a bin of `heap` to `to`, if the thread is on that heap's CPU; how many. */
static inline uint32_t rt_percpu_take(void *heap, size_t bin, void **to, uint64_t count) {
    uint64_t area, table, top, done, x;
    rt_storm();
    __asm__ volatile(
        RT_RSEQ_MANY
        "   movq (%[top]), %[x]\n"
        "   testq %[x], %[x]\n"
        "   jz 8f\n"
        "   movq %[x], (%[to],%[done],8)\n"
        "   subq $8, %[top]\n"
        RT_RSEQ_MANY_END
        : [area] "=&r"(area), [table] "=&r"(table), [top] "=&r"(top), [done] "=&r"(done), [x] "=&r"(x),
          [aborts] "+m"(rt_percpu.aborts)
        : [offset] "m"(rt_percpu.offset), [heaps] "m"(rt_percpu.heaps), [cpus] "i"(RT_CPUS),
          [heap] "r"(heap), [bin] "r"(bin), [to] "r"(to), [count] "m"(count)
        : "cc", "memory");
    return (uint32_t)done;
}

#else /* the mode is not compiled in: nothing of it remains */

typedef struct { int64_t offset; void *heaps[1], *homes[1]; uint64_t aborts; } rt_percpu_state;
static rt_percpu_state rt_percpu;
static inline int64_t rt_percpu_find(void) { return 0; }
static inline uint32_t rt_percpu_cpu(void) { return RT_CPUS; }
static inline void *rt_percpu_pop(size_t bin) { return (void)bin, (void *)0; }
static inline int rt_percpu_push(void *p, size_t bin) { return (void)p, (void)bin, RT_PERCPU_FULL; }
static inline uint32_t rt_percpu_put(void *heap, size_t bin, void *const *from, uint64_t count) {
    return (void)heap, (void)bin, (void)from, (void)count, 0;
}
static inline uint32_t rt_percpu_take(void *heap, size_t bin, void **to, uint64_t count) {
    return (void)heap, (void)bin, (void)to, (void)count, 0;
}
#endif
#endif
