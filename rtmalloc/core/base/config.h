/* What is fixed when the library is compiled: geometry, and the switches of variants.toml. */
#ifndef RT_CONFIG_H
#define RT_CONFIG_H
#include "size_table.h"
#ifndef RT_SLICE_SHIFT
#define RT_SLICE_SHIFT 14
#endif

/* Where the tag of an address is looked up (pages/tag.pxd, alternatives/lookup.pxd). */
enum { RT_LOOKUP_TAG, RT_LOOKUP_HEADER, RT_LOOKUP_FLAT, RT_LOOKUP_RADIX };
#ifndef RT_LOOKUP
#define RT_LOOKUP 0 /* RT_LOOKUP_TAG */
#endif
/* 1: malloc and free begin by asking whether the thread has a heap, instead of missing into their slow paths. */
#ifndef RT_STATE_TEST
#define RT_STATE_TEST 0
#endif
/* 1: the equations of types.pxd and the rules of the locks are checked while the program runs (calls/check.pxd). */
#ifndef RT_CHECK
#define RT_CHECK 0
#endif
/* Bits of a user-space address; the flat map has an entry for each slice of them. */
#ifdef __x86_64__
#define RT_ADDRESS_BITS 47
#else
#define RT_ADDRESS_BITS 48
#endif

enum {
    RT_SLICE_BYTES = 1 << RT_SLICE_SHIFT,
    RT_HEADER_SLICES = RT_LOOKUP == 1 ? 1 : 0, /* at the start of each segment, for its tags */
    RT_SLICE_WORDS = RT_SLICE_BYTES / 16 / 64, /* bitmap words of one slice: one bit per 16-byte granule */
    RT_HUGE_SHIFT = 21,                        /* of the kernel's huge pages: 2 MiB on x86-64, and on AArch64 with 4 KiB pages */
    RT_SEGMENT_SHIFT = RT_SLICE_SHIFT + 6,
    /* Segments open in groups that a huge page fits into, from addresses at which one may begin. */
    RT_GROUP_SEGMENTS = RT_HUGE_SHIFT > RT_SEGMENT_SHIFT ? 1 << (RT_HUGE_SHIFT - RT_SEGMENT_SHIFT) : 1,
    RT_GROUP_BYTES = RT_GROUP_SEGMENTS << RT_SEGMENT_SHIFT,
};
#define RT_SEGMENT_BYTES ((size_t)1 << RT_SEGMENT_SHIFT)
#endif
