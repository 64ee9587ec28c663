/* Bit tricks that need a compiler builtin. */
#ifndef RT_BITMAP_H
#define RT_BITMAP_H
#include <stdint.h>
static inline uint32_t rt_lowest_bit(uint64_t m) { return (uint32_t)__builtin_ctzll(m); }
static inline uint32_t rt_highest_bit(uint64_t m) { return 63u - (uint32_t)__builtin_clzll(m); }
static inline uint32_t rt_count_bits(uint64_t m) {
#ifdef __POPCNT__
    return (uint32_t)__builtin_popcountll(m);
#else
    /* The baseline x86-64 has no popcnt, and gcc then calls a table function; this is as long and needs no memory. */
    m -= (m >> 1) & 0x5555555555555555u;
    m = (m & 0x3333333333333333u) + ((m >> 2) & 0x3333333333333333u);
    m = (m + (m >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return (uint32_t)((m * 0x0101010101010101u) >> 56);
#endif
}
#endif
