/* Names of other allocators, for programs that are linked with one of them.
 * What hands out a block, takes one, or asks about one: all of a family or none, for a block of ours must never reach another allocator's free. docs/names.md has the table. */
#ifndef RT_FAMILIES_H
#define RT_FAMILIES_H
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <malloc.h>
#include "base/attributes.h"
#include "base/platform.h"

#define RT_SHOWN __attribute__((visibility("default"), used))

/* ---- the C library's inner names: programs that define malloc reach the library's by them */
extern void *__libc_malloc(size_t) RT_EXPORT(rt_malloc);
extern void __libc_free(void *) RT_EXPORT(rt_free);
extern void __libc_cfree(void *) RT_EXPORT(rt_free);
extern void *__libc_calloc(size_t, size_t) RT_EXPORT(rt_calloc);
extern void *__libc_realloc(void *, size_t) RT_EXPORT(rt_realloc);
extern void *__libc_memalign(size_t, size_t) RT_EXPORT(rt_memalign);
extern void *__libc_valloc(size_t) RT_EXPORT(rt_valloc);
extern void *__libc_pvalloc(size_t) RT_EXPORT(rt_pvalloc);
extern int __posix_memalign(void **, size_t, size_t) RT_EXPORT(rt_posix_memalign);

/* ---- of BSD and macOS, which mimalloc and tcmalloc bring along */
extern size_t malloc_size(void *) RT_EXPORT(rt_usable_size);
RT_SHOWN size_t malloc_good_size(size_t bytes) { return rt_good_size(bytes ? bytes : 1); }
RT_SHOWN void vfree(void *p) { rt_free(p); }
RT_SHOWN void *reallocf(void *p, size_t bytes) {
    void *q = rt_realloc(p, bytes);
    if (!q && bytes) rt_free(p);
    return q;
}
RT_SHOWN int reallocarr(void *where, size_t count, size_t size) {
    void *p = *(void **)where, *q;
    size_t bytes;
    int saved = errno;
    if (__builtin_mul_overflow(count, size, &bytes)) return EOVERFLOW;
    q = rt_realloc(p, bytes);
    errno = saved;
    if (!q && bytes) return ENOMEM;
    *(void **)where = q;
    return 0;
}
RT_SHOWN void *_aligned_malloc(size_t bytes, size_t alignment) { return rt_memalign(alignment, bytes); }

/* ---- jemalloc: flags hold the alignment's logarithm (6 bits) and ZERO (64); caches and arenas mean nothing here */
enum { RT_X_ALIGNMENT = 63, RT_X_ZERO = 64 };
RT_SHOWN void *mallocx(size_t bytes, int flags) {
    size_t alignment = (size_t)1 << (flags & RT_X_ALIGNMENT);
    /* All that the block has is zeroed: rallocx zeroes only what comes behind it. */
    void *p = alignment > 16      ? rt_memalign(alignment, bytes)
              : flags & RT_X_ZERO ? rt_calloc(1, rt_good_size(bytes ? bytes : 1))
                                  : rt_malloc(bytes);
    if (p && alignment > 16 && flags & RT_X_ZERO) memset(p, 0, rt_usable_size(p));
    return p;
}
RT_SHOWN void *rallocx(void *p, size_t bytes, int flags) {
    size_t before = rt_usable_size(p), now;
    size_t alignment = (size_t)1 << (flags & RT_X_ALIGNMENT);
    void *q = alignment > 16 ? mallocx(bytes, flags & RT_X_ALIGNMENT) : rt_realloc(p, bytes ? bytes : 1);
    if (!q) return NULL;
    if (alignment > 16) {
        memcpy(q, p, before < bytes ? before : bytes);
        rt_free(p);
    }
    now = rt_usable_size(q);
    if (flags & RT_X_ZERO && now > before) memset((char *)q + before, 0, now - before);
    return q;
}
/* In place nothing grows: what the block has is the answer, as the interface allows. */
RT_SHOWN size_t xallocx(void *p, size_t bytes, size_t extra, int flags) {
    return (void)bytes, (void)extra, (void)flags, rt_usable_size(p);
}
RT_SHOWN size_t sallocx(const void *p, int flags) { return (void)flags, rt_usable_size((void *)p); }
RT_SHOWN size_t nallocx(size_t bytes, int flags) { return (void)flags, rt_good_size(bytes ? bytes : 1); }
extern void dallocx(void *, size_t) RT_EXPORT(rt_free_sized);
extern void sdallocx(void *, size_t, size_t) RT_EXPORT(rt_free_aligned_sized);

/* ---- tcmalloc */
extern void *tc_malloc(size_t) RT_EXPORT(rt_malloc);
extern void *tc_malloc_skip_new_handler(size_t) RT_EXPORT(rt_malloc);
extern void tc_free(void *) RT_EXPORT(rt_free);
extern void tc_cfree(void *) RT_EXPORT(rt_free);
extern void tc_free_sized(void *, size_t) RT_EXPORT(rt_free_sized);
extern void *tc_calloc(size_t, size_t) RT_EXPORT(rt_calloc);
extern void *tc_realloc(void *, size_t) RT_EXPORT(rt_realloc);
extern void *tc_memalign(size_t, size_t) RT_EXPORT(rt_memalign);
extern int tc_posix_memalign(void **, size_t, size_t) RT_EXPORT(rt_posix_memalign);
extern void *tc_valloc(size_t) RT_EXPORT(rt_valloc);
extern void *tc_pvalloc(size_t) RT_EXPORT(rt_pvalloc);
extern size_t tc_malloc_size(void *) RT_EXPORT(rt_usable_size);
RT_SHOWN size_t tc_nallocx(size_t bytes, int flags) { return nallocx(bytes, flags); }
extern void *tc_new(size_t) RT_EXPORT(_Znwm);
extern void *tc_newarray(size_t) RT_EXPORT(_Znwm);
extern void *tc_new_nothrow(size_t, size_t) RT_EXPORT(_ZnwmRKSt9nothrow_t);
extern void *tc_newarray_nothrow(size_t, size_t) RT_EXPORT(_ZnwmRKSt9nothrow_t);
extern void *tc_new_aligned(size_t, size_t) RT_EXPORT(_ZnwmSt11align_val_t);
extern void *tc_newarray_aligned(size_t, size_t) RT_EXPORT(_ZnwmSt11align_val_t);
extern void *tc_new_aligned_nothrow(size_t, size_t) RT_EXPORT(_ZnwmSt11align_val_tRKSt9nothrow_t);
extern void *tc_newarray_aligned_nothrow(size_t, size_t) RT_EXPORT(_ZnwmSt11align_val_tRKSt9nothrow_t);
#define RT_TC_DELETE(name) extern void name(void *, size_t, size_t) RT_EXPORT(rt_free_aligned_sized)
RT_TC_DELETE(tc_delete);
RT_TC_DELETE(tc_delete_aligned);
RT_TC_DELETE(tc_delete_aligned_nothrow);
RT_TC_DELETE(tc_delete_nothrow);
RT_TC_DELETE(tc_delete_sized);
RT_TC_DELETE(tc_delete_sized_aligned);
RT_TC_DELETE(tc_deletearray);
RT_TC_DELETE(tc_deletearray_aligned);
RT_TC_DELETE(tc_deletearray_aligned_nothrow);
RT_TC_DELETE(tc_deletearray_nothrow);
RT_TC_DELETE(tc_deletearray_sized);
RT_TC_DELETE(tc_deletearray_sized_aligned);

/* ---- the C library's view of the heap; musl has no such calls */
#ifdef __GLIBC__
RT_SHOWN struct mallinfo2 mallinfo2(void) {
    struct mallinfo2 m;
    uint64_t now[3];
    memset(&m, 0, sizeof m);
    rt_mallinfo(now);
    m.arena = now[0] + now[1];
    m.uordblks = now[0];
    m.fordblks = now[1];
    m.keepcost = now[1];
    m.hblkhd = now[2];
    m.ordblks = 1;
    m.hblks = now[2] != 0;
    return m;
}
static int rt_as_int(size_t n) { return n > INT_MAX ? INT_MAX : (int)n; }
RT_SHOWN struct mallinfo mallinfo(void) {
    struct mallinfo2 m = mallinfo2();
    struct mallinfo old;
    memset(&old, 0, sizeof old);
    old.arena = rt_as_int(m.arena);
    old.ordblks = rt_as_int(m.ordblks);
    old.hblks = rt_as_int(m.hblks);
    old.hblkhd = rt_as_int(m.hblkhd);
    old.uordblks = rt_as_int(m.uordblks);
    old.fordblks = rt_as_int(m.fordblks);
    old.keepcost = rt_as_int(m.keepcost);
    return old;
}
/* 1 where the parameter is one of the C library's: what it asks for is done by other means, or needs not be done. */
RT_SHOWN int mallopt(int parameter, int value) { return (void)value, parameter >= -8 && parameter <= 4 && parameter != 0; }
extern void malloc_stats(void) RT_EXPORT(rt_malloc_stats);
RT_SHOWN int malloc_info(int options, FILE *to) {
    struct mallinfo2 m = mallinfo2();
    if (options != 0) return EINVAL;
    return fprintf(to,
                   "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n</sizes>\n<total type=\"fast\" count=\"0\" "
                   "size=\"0\"/>\n<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n<system type=\"current\" "
                   "size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n</heap>\n<total type=\"fast\" count=\"0\" "
                   "size=\"0\"/>\n<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n<total type=\"mmap\" "
                   "count=\"%zu\" size=\"%zu\"/>\n<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" "
                   "size=\"%zu\"/>\n</malloc>\n",
                   m.ordblks, m.fordblks, m.arena, m.arena, m.ordblks, m.fordblks, m.hblks, m.hblkhd, m.arena + m.hblkhd,
                   m.arena + m.hblkhd) < 0
               ? errno : 0;
}
#endif
#endif
