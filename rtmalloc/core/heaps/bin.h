/* The steps of the fast paths on a bin, which lies `at` bytes behind a heap's first one.
 * On x86-64 they address it by heap and offset, and its top moves by one instruction on memory, where compilers
 * would use two. */
#ifndef RT_BIN_H
#define RT_BIN_H
#include "../base/attributes.h"
#include "tls.h"

static inline RT_INLINE void **rt_bin_top(void *heap, size_t at) { return *(void ***)((char *)heap + at + RT_BINS_OFFSET); }
static inline RT_INLINE void **rt_bin_limit(void *heap, size_t at) {
    return *(void ***)((char *)heap + at + RT_BINS_OFFSET + sizeof(void **));
}

/* Take the newest entry off. */
static inline RT_INLINE void rt_bin_lower(void *heap, size_t at) {
#if defined __x86_64__ && !defined __ILP32__
    __asm__("subq $8, %c2(%0,%1)" : : "r"(heap), "r"(at), "i"(RT_BINS_OFFSET) : "cc", "memory");
#else
    *(void ***)((char *)heap + at + RT_BINS_OFFSET) -= 1;
#endif
}

/* Count an entry that has been written above the top. Never before it is written: a fork may stop the thread between the
 * two, and its child looks at the bins of threads that it does not have. */
static inline RT_INLINE void rt_bin_raise(void *heap, size_t at) {
#if defined __x86_64__ && !defined __ILP32__
    __asm__ volatile("addq $8, %c2(%0,%1)" : : "r"(heap), "r"(at), "i"(RT_BINS_OFFSET) : "cc", "memory");
#else
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    *(void ***)((char *)heap + at + RT_BINS_OFFSET) += 1;
#endif
}
#endif
