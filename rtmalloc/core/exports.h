/* The names under which programs find us, as aliases of the functions that Cython emits. In the extension module the
 * linker's version script hides them again. */
#ifndef RT_EXPORTS_H
#define RT_EXPORTS_H
#include <stddef.h>
#include "attributes.h"
#define RT_EXPORT(target) __attribute__((visibility("default"), used, alias(#target)))
extern void *malloc(size_t) RT_EXPORT(rt_malloc);
extern void free(void *) RT_EXPORT(rt_free);
extern void *calloc(size_t, size_t) RT_EXPORT(rt_calloc);
extern void *realloc(void *, size_t) RT_EXPORT(rt_realloc);
extern void *reallocarray(void *, size_t, size_t) RT_EXPORT(rt_reallocarray);
extern void *aligned_alloc(size_t, size_t) RT_EXPORT(rt_memalign);
extern void *memalign(size_t, size_t) RT_EXPORT(rt_memalign);
extern int posix_memalign(void **, size_t, size_t) RT_EXPORT(rt_posix_memalign);
extern void *valloc(size_t) RT_EXPORT(rt_valloc);
extern void *pvalloc(size_t) RT_EXPORT(rt_pvalloc);
extern size_t malloc_usable_size(void *) RT_EXPORT(rt_usable_size);
extern int malloc_trim(size_t) RT_EXPORT(rt_trim);
extern void cfree(void *) RT_EXPORT(rt_free);
extern void free_sized(void *, size_t) RT_EXPORT(rt_free_sized);
extern void free_aligned_sized(void *, size_t, size_t) RT_EXPORT(rt_free_aligned_sized);

#endif
