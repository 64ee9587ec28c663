/* The table of small size classes that this process uses: the built one, or one that was read.
 * The built one comes from rtmalloc.toml. Another is read when the process begins (table_file.pxd), before its first
 * allocation. The table lies on pages of its own, which are sealed against writing before the first block is handed
 * out. */
#ifndef RT_SIZE_TABLE_DATA_H
#define RT_SIZE_TABLE_DATA_H
#include <stddef.h>
#include <stdint.h>
#include "system.h"
#ifdef RT_SIZE_TABLE /* another file, for a variant */
#include RT_SIZE_TABLE
#else
#include "_size_table.h"
#endif
enum { RT_TABLE_ALIGNMENT = 4096, RT_TABLE_NAME_BYTES = 1024 };

/* A compiled table: a head, two words for each class, a checksum (table_file.pxd). */
enum { RT_TABLE_HEAD = 4, RT_TABLE_WORDS = RT_TABLE_HEAD + 2 * (RT_CLASSES_MOST - 1) + 1 };

/* FNV-1a over whole words. Each step is a bijection of the word, so that no change of a single word goes unseen. */
static inline uint32_t rt_table_checksum(const uint32_t *words, uint32_t count) {
    uint32_t sum = 2166136261u;
    for (uint32_t i = 0; i < count; i++) sum = (sum ^ words[i]) * 16777619u;
    return sum;
}

typedef struct {
    uint16_t bin_offset[RT_MAX_SMALL / 16 + 1]; /* [(n + 15) / 16]: offset of the bin that serves n bytes; 0 = too large */
    uint8_t class_slices[RT_CLASSES_MOST];      /* of a span of the class */
    uint32_t class_size[RT_CLASSES_MOST];       /* bytes; class 0 is "no class" */
    uint32_t class_count;                       /* with class 0 */
    uint32_t class_largest;                     /* bytes of the largest class, at most RT_MAX_SMALL */
    char name[RT_TABLE_NAME_BYTES];             /* the file it was read from, cut if longer; "" = built in */
} __attribute__((aligned(RT_TABLE_ALIGNMENT))) rt_size_table_data;

static rt_size_table_data rt_size_table = {
    RT_BUILT_BIN_OFFSET, RT_BUILT_CLASS_SLICES, RT_BUILT_CLASS_SIZE, RT_CLASSES_BUILT, RT_MAX_SMALL, "",
};
#define rt_bin_offset rt_size_table.bin_offset
#define rt_class_slices rt_size_table.class_slices
#define rt_class_size rt_size_table.class_size
#define rt_class_count rt_size_table.class_count
#define rt_class_largest rt_size_table.class_largest

static inline void rt_table_name_set(const char *name) {
    for (size_t i = 0; i < RT_TABLE_NAME_BYTES - 1 && name[i]; i++) rt_size_table.name[i] = name[i];
}

/* Seal the table; where pages are larger than 4 KiB it stays writable. */
static inline void rt_size_table_seal(size_t page) {
    if (page <= RT_TABLE_ALIGNMENT) rt_mprotect(&rt_size_table, sizeof rt_size_table, PROT_READ);
}
#endif
