/* Bit tricks that need a compiler builtin. */
#ifndef RT_BITMAP_H
#define RT_BITMAP_H
#include <stdint.h>
static inline uint32_t rt_lowest_bit(uint64_t m) { return (uint32_t)__builtin_ctzll(m); }
static inline uint32_t rt_highest_bit(uint64_t m) { return 63u - (uint32_t)__builtin_clzll(m); }
static inline uint32_t rt_count_bits(uint64_t m) { return (uint32_t)__builtin_popcountll(m); }
#endif
