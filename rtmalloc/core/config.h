/* Geometry that is fixed when the library is compiled. */
#ifndef RT_CONFIG_H
#define RT_CONFIG_H
#include "size_table.h"
#ifndef RT_SLICE_SHIFT
#define RT_SLICE_SHIFT 15
#endif
enum {
    RT_SLICE_BYTES = 1 << RT_SLICE_SHIFT,
    RT_SLICE_WORDS = RT_SLICE_BYTES / 16 / 64, /* bitmap words of one slice: one bit per 16-byte granule */
};
#endif
