/* The number of the calling thread, without a system call: where libthread_db, the debuggers' library, reads it.
 *
 * glibc gets the number of each thread from the kernel, when it makes one, and keeps it where two exported descriptors say.
 * A raw clone leaves the number of the parent's thread there. But the thread that it makes is the first of its process, whose
 * number is the process's, so that it need not be kept: it counts as 0. */
#ifndef RT_THREAD_NUMBER_H
#define RT_THREAD_NUMBER_H
#include <dlfcn.h>
#include <stdint.h>
#include "system.h"

static intptr_t rt_number_offset; /* from the thread pointer; 0 = not known */
static void *rt_first_thread;     /* its thread pointer; NULL = not known */

static inline void *rt_thread_identity(void) { return __builtin_thread_pointer(); }
static inline void rt_thread_is_first(void) { rt_first_thread = rt_thread_identity(); }

/* By the first thread, before there are others. */
static inline void rt_thread_number_open(void) {
    const uint32_t *field = (const uint32_t *)dlsym(RTLD_DEFAULT, "_thread_db_pthread_tid"); /* bits, elements, offset */
    const uint32_t *bytes = (const uint32_t *)dlsym(RTLD_DEFAULT, "_thread_db_sizeof_pthread");
    rt_thread_is_first();
    if (!field || !bytes || field[0] != 32) return;
#if defined(__x86_64__)
    rt_number_offset = (intptr_t)field[2];
#elif defined(__aarch64__)
    rt_number_offset = (intptr_t)field[2] - (intptr_t)*bytes;
#endif
}

static inline uint32_t rt_os_thread_number(void) {
    long number = rt_number_offset ? *(volatile uint32_t *)((char *)rt_thread_identity() + rt_number_offset) : 0;
    if (number) return (uint32_t)number; /* glibc does not know the background thread */
    number = rt_system_spared(SYS_gettid);
    return rt_system_failed(number) ? 0 : (uint32_t)number;
}

/* 0 for the first thread of the process. */
static inline uint32_t rt_os_thread_id(void) {
    uint32_t number;
    if (rt_first_thread == rt_thread_identity()) return 0;
    number = rt_os_thread_number();
    if (!rt_first_thread && (long)number == rt_system_spared(SYS_getpid)) number = 0;
    return number;
}
#endif
