/* Geometry that is fixed when the library is compiled. */
#ifndef RT_CONFIG_H
#define RT_CONFIG_H
#include "size_table.h"
#ifndef RT_SLICE_SHIFT
#define RT_SLICE_SHIFT 14
#endif
enum {
    RT_SLICE_BYTES = 1 << RT_SLICE_SHIFT,
    RT_SLICE_WORDS = RT_SLICE_BYTES / 16 / 64, /* bitmap words of one slice: one bit per 16-byte granule */
    RT_HUGE_SHIFT = 21,                        /* of the kernel's huge pages: 2 MiB on x86-64, and on AArch64 with 4 KiB pages */
    RT_SEGMENT_SHIFT = RT_SLICE_SHIFT + 6,
    /* Segments open in groups that a huge page fits into, from addresses at which one may begin. */
    RT_GROUP_SEGMENTS = RT_HUGE_SHIFT > RT_SEGMENT_SHIFT ? 1 << (RT_HUGE_SHIFT - RT_SEGMENT_SHIFT) : 1,
    RT_GROUP_BYTES = RT_GROUP_SEGMENTS << RT_SEGMENT_SHIFT,
};
#endif
