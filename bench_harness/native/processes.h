/* Child processes of a cell, and what memory a group of processes costs: pages that several share count once.
 * As in system.h, nothing here calls malloc or stdio. */
#ifndef BENCH_HARNESS_PROCESSES_H
#define BENCH_HARNESS_PROCESSES_H
#include "system.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* fork(); the child ends with its parent, so that an ended cell leaves nothing behind. 0 in the child. */
static inline int child_fork(void) {
    int parent = getpid(), pid = fork();
    if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) _exit(127);
    return pid;
}

enum { CHILD_RUNS = -1 };

/* 0 when the child ended well, its status or 128 + signal otherwise; CHILD_RUNS without `wait` while it does. */
static inline int child_status(int pid, int wait) {
    int status, got = waitpid(pid, &status, wait ? 0 : WNOHANG);
    if (got == 0) return CHILD_RUNS;
    if (got != pid) return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* "Name:   123 kB" of a text like /proc/PID/smaps_rollup, in bytes; 0 when it is not there. */
static inline long line_bytes(const char *text, const char *name) {
    const char *line = strstr(text, name);
    return line ? strtol(line + strlen(name), 0, 10) * 1024 : 0;
}

/* Adds what one process has: its proportional share of every page, and the pages that it alone has written. */
static inline int process_memory_add(int pid, long *pss, long *private_dirty) {
    char path[48], text[2048];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    if (!file_read(path, text, sizeof text)) return 0;
    *pss += line_bytes(text, "\nPss:");
    *private_dirty += line_bytes(text, "\nPrivate_Dirty:");
    return 1;
}

/* Pages for parent and children alike: how they tell each other what they did. */
static inline void *map_shared_pages(size_t bytes) {
    void *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? 0 : p;
}
#endif
