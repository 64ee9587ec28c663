/* The names under which programs find us: malloc, free, and all their kin.
 * They are aliases of the functions that Cython emits. In the extension module the linker's version script hides
 * them again. */
#ifndef RT_EXPORTS_H
#define RT_EXPORTS_H
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include "base/attributes.h"
/* What Cython emits further down. */
static RT_FAST void *rt_malloc(size_t);
static RT_FAST void rt_free(void *);
static RT_FAST void *rt_new(size_t);
static void *rt_calloc(size_t, size_t);
static void *rt_realloc(void *, size_t);
static void *rt_memalign(size_t, size_t);
static size_t rt_usable_size(void *);
static size_t rt_good_size(size_t);
static void rt_mallinfo(uint64_t *);
static void rt_background_hold(void);
static void rt_background_release(void);
static void rt_background_refuse(void);
static void rt_batch_end(void);
/* RT_EXPORT_PREFIXED gives all of them a prefix (rtx_malloc, rtx_free, ...), for test drivers under a sanitizer, whose
 * own malloc must stay in place. */
#ifdef RT_EXPORT_PREFIXED
#define RT_NAME(name) rtx_##name
#else
#define RT_NAME(name) name
#endif
#define RT_EXPORT(target) __attribute__((visibility("default"), used, alias(#target)))
extern void *RT_NAME(malloc)(size_t) RT_EXPORT(rt_malloc);
extern void RT_NAME(free)(void *) RT_EXPORT(rt_free);
extern void *RT_NAME(calloc)(size_t, size_t) RT_EXPORT(rt_calloc);
extern void *RT_NAME(realloc)(void *, size_t) RT_EXPORT(rt_realloc);
extern void *RT_NAME(aligned_alloc)(size_t, size_t) RT_EXPORT(rt_aligned_alloc);
extern void *RT_NAME(memalign)(size_t, size_t) RT_EXPORT(rt_memalign);
extern int RT_NAME(posix_memalign)(void **, size_t, size_t) RT_EXPORT(rt_posix_memalign);
extern void *RT_NAME(valloc)(size_t) RT_EXPORT(rt_valloc);
extern void *RT_NAME(pvalloc)(size_t) RT_EXPORT(rt_pvalloc);
extern size_t RT_NAME(malloc_usable_size)(void *) RT_EXPORT(rt_usable_size);
extern int RT_NAME(malloc_trim)(size_t) RT_EXPORT(rt_trim);
extern int RT_NAME(rtmalloc_emergency_flush)(void) RT_EXPORT(rt_emergency_flush);
extern void RT_NAME(cfree)(void *) RT_EXPORT(rt_free);
extern void RT_NAME(free_sized)(void *, size_t) RT_EXPORT(rt_free_sized);
extern void RT_NAME(free_aligned_sized)(void *, size_t, size_t) RT_EXPORT(rt_free_aligned_sized);

/* What outlives a block unless we hear of it (calls/marks.pxd). */
extern int RT_NAME(madvise)(void *, size_t, int) RT_EXPORT(rt_marks_madvise);
extern int RT_NAME(mprotect)(void *, size_t, int) RT_EXPORT(rt_marks_mprotect);
extern int RT_NAME(mlock)(const void *, size_t) RT_EXPORT(rt_marks_mlock);
extern int RT_NAME(mlock2)(const void *, size_t, unsigned) RT_EXPORT(rt_marks_mlock2);
extern long RT_NAME(mbind)(void *, unsigned long, int, const unsigned long *, unsigned long, unsigned) RT_EXPORT(rt_marks_mbind);

/* The table of api.h, for the Python extension of a process that runs under the preload library. */
extern const void *RT_NAME(rtmalloc_api)(void) RT_EXPORT(rt_api_table);

#ifdef RT_EXPORT_PREFIXED
static void *rt_new_slow(size_t bytes) { return rt_malloc(bytes); }
extern void *RT_NAME(reallocarray)(void *, size_t, size_t) RT_EXPORT(rt_reallocarray);
#else
/* A program that defines malloc, calloc, realloc and free, and no more, means its own blocks: by the name that it sees. */
extern void *rt_realloc_seen(void *, size_t) __asm__("realloc") __attribute__((visibility("default")));
__attribute__((visibility("default"), used)) void *reallocarray(void *p, size_t count, size_t size) {
    size_t bytes;
    if (!__builtin_mul_overflow(count, size, &bytes)) return rt_realloc_seen(p, bytes);
    errno = ENOMEM;
    return NULL;
}
#include "calls/operators.h"
#include "calls/families.h"
#include "calls/alone.h"
#endif
#endif
