/* The operators of C++.
 * A program may replace some of them; the standard then says which others must end there: the sized, the
 * nothrow and the array forms end in the plain one. So these go by the name that the program sees (one jump more than free),
 * and only the plain forms are malloc and free themselves.
 *
 * Where memory is at its end, libstdc++'s own operator of the same name takes over: it calls our malloc again, then the
 * program's new-handler, and throws what the program can catch. This library is C, and links to no C++. */
#ifndef RT_OPERATORS_H
#define RT_OPERATORS_H
#include <dlfcn.h>
#include <stddef.h>
#include "base/attributes.h"
#include "base/platform.h"

#define RT_VISIBLE __attribute__((visibility("default"), used))
/* The symbol as the program sees it: not bound to ours. */
#define RT_SEEN(result, symbol, ...) extern result symbol##_seen(__VA_ARGS__) __asm__(#symbol) __attribute__((visibility("default")))

typedef void *(*rt_operator)(size_t, size_t, size_t);

/* The operator of the process's C++ library, or NULL. (RTLD_NEXT might find another allocator's.) */
static RT_COLD rt_operator rt_operator_of_library(const char *symbol) {
    static const char *const names[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *library = dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD);
        void *found = library ? dlsym(library, symbol) : NULL;
        if (found) return (rt_operator)found;
    }
    return NULL;
}

static RT_COLD void *rt_operator_failed(const char *symbol, size_t first, size_t second, int throws) {
    rt_operator library = rt_operator_of_library(symbol);
    static const char words[] = "rtmalloc: operator new: out of memory\n";
    /* What stands third or second where there is no alignment is std::nothrow, which nobody looks at. */
    if (library) return library(first, second, 0);
    if (!throws) return NULL;
    rt_os_complain(words, sizeof words - 1);
    abort();
}

RT_SEEN(void *, _Znwm, size_t);
RT_SEEN(void *, _ZnwmSt11align_val_t, size_t, size_t);
RT_SEEN(void, _ZdlPv, void *);
RT_SEEN(void, _ZdaPv, void *);
RT_SEEN(void, _ZdlPvSt11align_val_t, void *, size_t);
RT_SEEN(void, _ZdaPvSt11align_val_t, void *, size_t);

/* ---- new */
/* rt_new (calls/front.pxd) is malloc's fast path, and misses to here. */
static RT_SLOW __attribute__((used)) void *rt_new_slow(size_t bytes) {
    void *p = rt_malloc(bytes);
    return p ? p : rt_operator_failed("_Znwm", bytes, 0, 1);
}
extern void *_Znwm(size_t) RT_EXPORT(rt_new);
RT_VISIBLE void *_Znam(size_t bytes) { return _Znwm_seen(bytes); }
static __attribute__((used)) void *rt_new_aligned(size_t bytes, size_t alignment) {
    void *p = rt_memalign(alignment, bytes);
    return p ? p : rt_operator_failed("_ZnwmSt11align_val_t", bytes, alignment, 1);
}
extern void *_ZnwmSt11align_val_t(size_t, size_t) RT_EXPORT(rt_new_aligned);
RT_VISIBLE void *_ZnamSt11align_val_t(size_t bytes, size_t alignment) { return _ZnwmSt11align_val_t_seen(bytes, alignment); }

/* Whether a form of new ends in ours: else the library's goes there, and catches what it throws. */
#define RT_NOTHROW(symbol, plain, own, block)                                                                          \
    void *seen = plain##_seen;                                                                                         \
    __asm__("" : "+r"(seen)); /* the compiler would say that two functions differ */                                   \
    if (seen == own) {                                                                                                 \
        void *p = block;                                                                                               \
        if (p) return p;                                                                                               \
    }                                                                                                                  \
    return rt_operator_failed(symbol, bytes, alignment, 0) /* (or std::nothrow, as it stands there) */
RT_VISIBLE void *_ZnwmRKSt9nothrow_t(size_t bytes, size_t alignment) {
    RT_NOTHROW("_ZnwmRKSt9nothrow_t", _Znwm, rt_new, rt_malloc(bytes));
}
RT_VISIBLE void *_ZnamRKSt9nothrow_t(size_t bytes, size_t alignment) {
    RT_NOTHROW("_ZnamRKSt9nothrow_t", _Znwm, rt_new, rt_malloc(bytes));
}
RT_VISIBLE void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment) {
    RT_NOTHROW("_ZnwmSt11align_val_tRKSt9nothrow_t", _ZnwmSt11align_val_t, rt_new_aligned, rt_memalign(alignment, bytes));
}
RT_VISIBLE void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t bytes, size_t alignment) {
    RT_NOTHROW("_ZnamSt11align_val_tRKSt9nothrow_t", _ZnwmSt11align_val_t, rt_new_aligned, rt_memalign(alignment, bytes));
}

/* ---- delete */
extern void _ZdlPv(void *) RT_EXPORT(rt_free);
extern void _ZdlPvSt11align_val_t(void *, size_t) RT_EXPORT(rt_free_sized);
RT_VISIBLE void _ZdlPvm(void *p, size_t bytes) { (void)bytes, _ZdlPv_seen(p); }
RT_VISIBLE void _ZdlPvRKSt9nothrow_t(void *p, const void *nothrow) { (void)nothrow, _ZdlPv_seen(p); }
RT_VISIBLE void _ZdaPv(void *p) { _ZdlPv_seen(p); }
RT_VISIBLE void _ZdaPvm(void *p, size_t bytes) { (void)bytes, _ZdaPv_seen(p); }
RT_VISIBLE void _ZdaPvRKSt9nothrow_t(void *p, const void *nothrow) { (void)nothrow, _ZdaPv_seen(p); }
RT_VISIBLE void _ZdlPvmSt11align_val_t(void *p, size_t bytes, size_t alignment) {
    (void)bytes, _ZdlPvSt11align_val_t_seen(p, alignment);
}
RT_VISIBLE void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *p, size_t alignment) { _ZdlPvSt11align_val_t_seen(p, alignment); }
RT_VISIBLE void _ZdaPvSt11align_val_t(void *p, size_t alignment) { _ZdlPvSt11align_val_t_seen(p, alignment); }
RT_VISIBLE void _ZdaPvmSt11align_val_t(void *p, size_t bytes, size_t alignment) {
    (void)bytes, _ZdaPvSt11align_val_t_seen(p, alignment);
}
RT_VISIBLE void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *p, size_t alignment) { _ZdaPvSt11align_val_t_seen(p, alignment); }
#endif
