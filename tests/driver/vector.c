/* Runs that go back by one system call for many, and who refuses it:
 *     vector WHAT WAY
 * WHAT is `none`, `locked` (some of the memory cannot go), an error's name (a filter answers so), `kill` (it kills who calls
 * process_madvise), `strict` (and who calls prctl), `refuse-mincore`. WAY is how the filter comes: `name` (prctl by its name), `raw` (by
 * a system call that nobody sees), `exec` (before the program began). Survivors keep their content, and the rest goes. */
#include "support.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
enum { COUNT = 40000, SIZE = 1000, KEPT = 10, PAGE = 4096, MIB = 1 << 20, LARGE = 64 * MIB };
static unsigned char *blocks[COUNT];

static long resident_kib(void) {
    long pages = 0, all;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &all, &pages) == 2, "statm");
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void filter_set(const char *what, int raw) {
    unsigned kill = strcmp(what, "kill") == 0 || strcmp(what, "strict") == 0;
    unsigned answer = kill ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | (strcmp(what, "ENOSYS") == 0 ? ENOSYS : EPERM);
    unsigned number = strcmp(what, "refuse-mincore") == 0 ? SYS_mincore : SYS_process_madvise;
    unsigned other = strcmp(what, "strict") == 0 ? SYS_prctl : number;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, other, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (raw) {
        /* Past every name: by the library's own entry to the kernel. */
        long (*enter)(long, ...) = syscall;
        CHECK(enter(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
        CHECK(enter(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0, "seccomp");
        return;
    }
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

/* Fill, free nine blocks of ten, give back; some of what is free is locked in between. */
static void round_of(int number, int locked) {
    long before;
    int i, j;
    for (i = 0; i < COUNT; i++)
        if (blocks[i] == NULL) {
            CHECK((blocks[i] = A(calloc)(1, SIZE)) != NULL, "block %d", i);
            for (j = 0; j < SIZE; j++) CHECK(blocks[i][j] == 0, "byte %d of block %d is not zero", j, i);
            memset(blocks[i], number + i % 100, SIZE);
        }
    for (i = 0; i < COUNT; i++)
        if (i % KEPT) {
            /* (By its name mlock would tell the allocator.) */
            if (locked && i % 500 == 1) syscall(SYS_mlock, (size_t)blocks[i] & ~(size_t)(PAGE - 1), PAGE);
            A(free)(blocks[i]);
            blocks[i] = NULL;
        }
    before = resident_kib();
    A(malloc_trim)(0);
    CHECK(resident_kib() < before - 10 * 1024, "round %d: %ld KiB, then %ld", number, before, resident_kib());
    for (i = 0; i < COUNT; i += KEPT) {
        for (j = 0; j < SIZE; j++) CHECK(blocks[i][j] == number + i % 100, "byte %d of block %d has changed", j, i);
        A(free)(blocks[i]);
        blocks[i] = NULL;
    }
}

/* calloc of a large block that was freed hardly touched makes nothing of it resident. */
static void untouched(void) {
    long before = resident_kib();
    int i;
    for (i = 0; i < 4; i++) {
        char *p = A(calloc)(1, LARGE);
        CHECK(p != NULL && p[LARGE / 3] == 0 && p[LARGE - 1] == 0, "large block %d", i);
        p[LARGE / 3] = 1;
        CHECK(resident_kib() < before + 4 * 1024, "%ld KiB, before %ld", resident_kib(), before);
        A(free)(p);
    }
}

int main(int count, char **words) {
    const char *what = count == 3 ? words[1] : "", *way = count == 3 ? words[2] : "";
    int filtered = strcmp(what, "none") != 0 && strcmp(what, "locked") != 0;
    driver_open();
    CHECK(count == 3, "usage: see the head of vector.c");
    if (strcmp(way, "exec") == 0) {
        filter_set(what, 0);
        execl("/proc/self/exe", words[0], what, "inside", NULL);
        CHECK(0, "exec");
    }
    round_of(1, strcmp(what, "locked") == 0);
    if (filtered && strcmp(way, "inside") != 0) filter_set(what, strcmp(way, "raw") == 0);
    round_of(2, strcmp(what, "locked") == 0);
    round_of(3, 0);
    untouched();
    puts("fine");
    return 0;
}
