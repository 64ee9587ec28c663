/* Where heap profiles are written, and the signal that asks for one: RTMALLOC_HEAP_PROFILE=DIRECTORY.
 *
 * A profile tells much about a program, so that it is its owner's alone: the directory has to be a real one of this user in
 * which nobody else may write, a file is new and readable by its owner, and has its name only when it is whole. */
#ifndef RT_HEAP_FILE_H
#define RT_HEAP_FILE_H
#include "../base/platform.h"
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

static uint32_t rt_heap_wanted;       /* 1: a signal has come */
static uint32_t *rt_heap_wake;        /* the word that the background thread sleeps on */

/* The directory, made if it is not there; else -1 and in words why not. */
static inline int rt_heap_directory_open(const char *name, const char **problem) {
    struct stat found;
    long file;
    rt_system(SYS_mkdirat, AT_FDCWD, name, 0700);
    file = rt_system(SYS_openat, AT_FDCWD, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *problem = file == -ELOOP || file == -ENOTDIR ? "it is no directory, or a symbolic link" : "it cannot be opened";
    if (file < 0) return -1;
    if (rt_system(SYS_fstat, file, &found) == 0 && found.st_uid == (uid_t)rt_system(SYS_geteuid) && !(found.st_mode & 022))
        return (int)file;
    *problem = "it belongs to somebody else, or others may write there";
    rt_system(SYS_close, file);
    return -1;
}

static inline int rt_heap_file_new(int directory, const char *name) {
    long file = rt_system(SYS_openat, directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return file < 0 ? -1 : (int)file;
}

/* The file is whole: it gets its name, if that is free; or it is not, and goes. 0 on success. */
static inline int rt_heap_file_end(int directory, const char *made, const char *name, int whole) {
    long r = whole ? rt_system(SYS_renameat2, directory, made, directory, name, 1 /* RENAME_NOREPLACE */) : -1;
    if (r < 0) rt_system(SYS_unlinkat, directory, made, 0);
    rt_system(SYS_close, directory);
    return r < 0 ? -1 : 0;
}

/* A stretch of a file of /proc, for copying: its length, 0 at the end. */
static inline int rt_heap_source_open(const char *name) {
    long file = rt_system(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    return file < 0 ? -1 : (int)file;
}
static inline int64_t rt_heap_source_read(int file, char *text, size_t room) {
    long n = rt_system(SYS_read, file, text, room);
    return n > 0 ? n : 0;
}

static void rt_heap_signal(int number) {
    (void)number;
    __atomic_store_n(&rt_heap_wanted, 1, __ATOMIC_RELEASE);
    if (rt_heap_wake) rt_os_futex_wake(rt_heap_wake, 1);
}

/* Let a signal ask for profiles, unless the program has a use for it: 0 then. */
static inline int rt_heap_signal_open(int number, uint32_t *wake) {
    struct sigaction now, ours;
    rt_heap_wake = wake;
    if (sigaction(number, NULL, &now) != 0 || now.sa_handler != SIG_DFL) return 0;
    memset(&ours, 0, sizeof ours);
    ours.sa_handler = rt_heap_signal;
    ours.sa_flags = SA_RESTART | SA_ONSTACK;
    return sigaction(number, &ours, NULL) == 0;
}
static inline int rt_heap_is_wanted(void) { return (int)__atomic_exchange_n(&rt_heap_wanted, 0, __ATOMIC_ACQ_REL); }
#endif
