/* Atomic steps on shared words: gcc's builtins, since Cython has no C11 atomics.
 * ThreadSanitizer knows them.
 *
 * The default here is sequential consistency for read-modify-write: on x86-64 it costs the same lock prefix, and the
 * protocol of docs/protocol.md needs it where one thread's OR and another's scan of the neighbouring word must not
 * miss each other (two frees into two words of one span). Weaker orders are named in the function. */
#ifndef RT_ATOMICS_H
#define RT_ATOMICS_H
#include <stdint.h>

/* RT_STORM (test builds only): now and then a thread loses its CPU just before it changes a shared word, so that the
 * steps of the protocol interleave in ways that a quiet machine never shows. */
#ifdef RT_STORM
#include <sched.h>
/* A driver may do something else there (tests/driver/stopped.c). */
void rt_storm_hook(void) __attribute__((weak));
static inline void rt_storm(void) {
    static __thread uint32_t dice = 1;
    if (rt_storm_hook) {
        rt_storm_hook();
        return;
    }
    dice = dice * 1664525u + 1013904223u;
    if (dice >> 29 == 0) sched_yield();
}
#else
static inline void rt_storm(void) {}
#endif

#define RT_ATOMIC_LOADS(suffix, type)                                                                                  \
    static inline type rt_load_relaxed_##suffix(const type *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }        \
    static inline type rt_load_acquire_##suffix(const type *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }        \
    static inline type rt_load_##suffix(const type *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }                \
    static inline void rt_store_relaxed_##suffix(type *p, type v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }        \
    static inline void rt_store_release_##suffix(type *p, type v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }        \
    static inline void rt_store_##suffix(type *p, type v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }                \
    static inline type rt_exchange_##suffix(type *p, type v) {                                                         \
        rt_storm();                                                                                                    \
        return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                            \
    }                                                                                                                  \
    static inline int rt_swap_if_##suffix(type *p, type *seen, type v) {                                               \
        rt_storm();                                                                                                    \
        return __atomic_compare_exchange_n(p, seen, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                         \
    }

typedef void *rt_pointer;
RT_ATOMIC_LOADS(u8, uint8_t)
RT_ATOMIC_LOADS(u16, uint16_t)
RT_ATOMIC_LOADS(u32, uint32_t)
RT_ATOMIC_LOADS(u64, uint64_t)
RT_ATOMIC_LOADS(pointer, rt_pointer)

static inline uint64_t rt_or_u64(uint64_t *p, uint64_t v) {
    rt_storm();
    return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);
}
static inline uint64_t rt_and_u64(uint64_t *p, uint64_t v) {
    rt_storm();
    return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST);
}
static inline uint32_t rt_add_u32(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline uint64_t rt_add_u64(uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
/* A relaxed load that may become an operand of the instruction that uses it, which compilers do not do with atomic ones. Of
 * an aligned word, so it is not torn. */
#ifdef __SANITIZE_THREAD__
static inline uint64_t rt_load_operand_u64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
#else
static inline uint64_t rt_load_operand_u64(const uint64_t *p) { return *p; }
#endif
/* Keeps the compiler from moving stores across; no instruction. A fork may stop a thread between any two of them. */
static inline void rt_compiler_barrier(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }
#endif
