/* What the kernel counts, forbids and remembers:
 *     late RESOURCE       RLIMIT_AS or RLIMIT_DATA of 512 MiB, set when the program runs: a thread starts, and it limits
 *     burst trim|wait     1 GiB comes and goes: the writable address space goes as well
 *     lock                mlockall with a finite RLIMIT_MEMLOCK, of a user who is not root
 *     filter HOW CALL...  a filter of system calls that forbids all but the most needed and CALL... (EPERM, or `kill`)
 *     mark WHAT KIB WHEN  a block that the program told the kernel something about is freed, and others live there
 *     zero MIB            calloc of a large block that was freed hardly touched
 *     grown MIB           realloc of a large block, of which hardly anything is resident, to double its size */
#include "support.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, MANY = 100000 };

static long status_mib(const char *name) {
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL, "status");
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name) + 1) >> 10;
    fclose(file);
    return value;
}

static void *nothing(void *p) { return p; }

static void mode_late(int resource) {
    struct rlimit limit = {512 * (rlim_t)MIB, 512 * (rlim_t)MIB};
    pthread_t thread;
    size_t got = 0;
    char *p;
    A(free)(A(malloc)(64 * MIB));
    CHECK(setrlimit(resource, &limit) == 0, "setrlimit");
    CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0, "no thread");
    for (; got < 2000 && (p = A(malloc)(MIB)) != NULL; got++) memset(p, 1, MIB);
    CHECK(got > 400 && got < 512 && errno == ENOMEM, "%zu MiB under a limit of 512 MiB, errno %d", got, errno);
}

static void mode_burst(int trim) {
    enum { PIECE = 40000, COUNT = 27000 };
    static void *p[COUNT];
    long before = status_mib("VmData"), peak;
    int i;
    for (i = 0; i < COUNT; i++) memset(p[i] = A(malloc)(PIECE), 1, PIECE);
    peak = status_mib("VmData");
    CHECK(peak > before + 1000, "%ld MiB, then %ld", before, peak);
    for (i = 0; i < COUNT; i++) A(free)(p[i]);
    for (i = 0; i < (trim ? 0 : 2000) && status_mib("VmData") > before + 40; i++) {
        usleep(1000);
        A(free)(A(malloc)(100));
    }
    A(free)(trim ? (A(malloc_trim)(0), NULL) : NULL);
    /* The tables stay: 1.7 %. */
    CHECK(status_mib("VmData") <= before + 40, "%ld, %ld, %ld MiB", before, peak, status_mib("VmData"));
    for (i = 0; i < COUNT; i++) memset(p[i] = A(malloc)(PIECE), 1, PIECE);
    CHECK(status_mib("VmData") <= peak + 40, "%ld MiB the second time, %ld the first", status_mib("VmData"), peak);
}

static void mode_lock(void) {
    struct rlimit limit = {8 * MIB, 8 * MIB}; /* what Debian gives */
    void *p[100];
    int i;
    A(free)(A(malloc)(100));
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "setrlimit");
    if (getuid() == 0) CHECK(setresuid(65534, 65534, 65534) == 0, "setresuid");
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall: %s", strerror(errno));
    for (i = 0; i < 100; i++) CHECK((p[i] = A(malloc)(5000)) != NULL, "%d", i);
    for (i = 0; i < 100; i++) A(free)(p[i]);
    A(malloc_trim)(0);
    CHECK(status_mib("VmLck") > 0, "what is to be locked stays so");
}

static void filter_set(const char *how, char **calls) {
    static const struct { const char *name; int number; } more[] = {
        {"madvise", SYS_madvise}, {"mprotect", SYS_mprotect}, {"mincore", SYS_mincore},
    };
    int allowed[16] = {SYS_write, SYS_exit_group, SYS_mmap, SYS_munmap, SYS_mremap, SYS_futex, SYS_rt_sigreturn, SYS_rt_sigprocmask,
                       SYS_gettid, SYS_getpid, SYS_tgkill};
    struct sock_filter code[64] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct sock_fprog program = {1, code};
    int count = 11, i;
    for (; *calls; calls++)
        for (i = 0; i < 3; i++)
            if (strcmp(*calls, more[i].name) == 0) allowed[count++] = more[i].number;
    for (i = 0; i < count; i++) {
        code[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
        code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[program.len++] = (struct sock_filter)BPF_STMT(
        BPF_RET | BPF_K, strcmp(how, "kill") ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

static void mode_filter(const char *how, char **calls) {
    static char *p[MANY], *big[40];
    int i, round, j;
    setvbuf(stdout, NULL, _IONBF, 0);
    filter_set(how, calls);
    for (i = 0; i < MANY; i++) {
        CHECK((p[i] = A(malloc)(200)) != NULL, "block %d", i);
        memset(p[i], 1, 200);
    }
    for (round = 0; round < 5; round++) {
        for (i = 0; i < 40; i++) {
            CHECK((big[i] = A(calloc)(1, (i + 1) * 100000)) != NULL, "large block %d", i);
            for (j = 0; j < (i + 1) * 100000; j += 1000) CHECK(big[i][j] == 0, "not zero: %d of block %d", j, i);
            memset(big[i], 1, (i + 1) * 100000);
        }
        for (i = 0; i < 40; i++) A(free)(big[i]);
        for (i = round; i < MANY; i += 5) A(free)(p[i]);
        if (*calls || strcmp(how, "kill")) A(malloc_trim)(0);
    }
}

/* libnuma's name; here it is there only if the allocator has it. */
extern long mbind(void *, unsigned long, int, const unsigned long *, unsigned long, unsigned) __attribute__((weak));

static int mark(const char *what, char *p, size_t n) {
    if (strcmp(what, "fork") == 0) return madvise(p, n, MADV_DONTFORK);
    if (strcmp(what, "dump") == 0) return madvise(p, n, MADV_DONTDUMP);
    if (strcmp(what, "huge") == 0) return madvise(p, n, MADV_HUGEPAGE);
    if (strcmp(what, "wipe") == 0) return madvise(p, n, MADV_WIPEONFORK);
    if (strcmp(what, "lock") == 0) return mlock(p, n);
    if (strcmp(what, "lock2") == 0) return mlock2(p, n, 0);
    if (strcmp(what, "node") == 0) {
        unsigned long nodes = 1;
        CHECK(mbind != NULL, "nobody has mbind");
        return (int)mbind(p, n, 2 /* MPOL_BIND */, &nodes, 8 * sizeof nodes, 0);
    }
    return mprotect(p, n, PROT_READ);
}

/* How many mappings have one of these flags, or lack the right to write. */
static int marked_mappings(void) {
    char line[512];
    int count = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    CHECK(file != NULL, "smaps");
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "VmFlags:", 8) == 0)
            count += strstr(line, " dc") || strstr(line, " lo") || strstr(line, " hg") || strstr(line, " wf") ||
                     (strstr(line, " dd") && strstr(line, " wr") && !strstr(line, " io")) ||
                     (strstr(line, " nr") && !strstr(line, " wr"));
    fclose(file);
    file = fopen("/proc/self/numa_maps", "r");
    while (file && fgets(line, sizeof line, file)) count += strstr(line, " bind:") != NULL;
    if (file) fclose(file);
    return count;
}

static void mode_mark(const char *what, size_t bytes, const char *when) {
    enum { COUNT = 20000 };
    static char *p[COUNT];
    char *blocks[8];
    void *b = NULL;
    long sum = 0;
    int i, before = marked_mappings();
    pid_t child;
    for (i = 0; i < 8; i++) { /* neighbours: some stay, some have the same mark */
        CHECK(A(posix_memalign)(&b, 4096, bytes) == 0, "block");
        memset(blocks[i] = b, 1, bytes);
        CHECK(i % 4 == 3 || mark(what, b, bytes & ~(size_t)4095) == 0, "%s: %s", what, strerror(errno));
    }
    CHECK(marked_mappings() > before, "nothing is marked");
    for (i = 0; i < 8; i++) A(free)(blocks[i]);
    if (strcmp(when, "trim") == 0) A(malloc_trim)(0);
    for (i = 0; i < COUNT; i++) memset(p[i] = A(malloc)(i % 2000 + 1), 1, i % 2000 + 1);
    child = fork();
    if (child == 0) {
        for (i = 0; i < COUNT; i++) sum += p[i][0];
        _exit(sum != COUNT);
    }
    CHECK(child_wait(child, 20) == 0, "the child cannot read what its parent wrote");
    CHECK(marked_mappings() <= before, "%d mappings are marked, before it were %d", marked_mappings(), before);
}

static void mode_zero(size_t bytes) {
    long before = status_mib("VmHWM");
    size_t i;
    int round;
    for (round = 0; round < 5; round++) {
        char *p = A(calloc)(1, bytes);
        CHECK(p != NULL, "calloc");
        CHECK(p[bytes / 3] == 0 && p[bytes / 3 + 5000] == 0 && p[bytes - 1] == 0, "not zero in round %d", round);
        memset(p + bytes / 3, 1, 10000);
        p[bytes - 1] = 1;
        A(free)(p);
    }
    CHECK(status_mib("VmHWM") < before + 20, "%ld MiB, before %ld", status_mib("VmHWM"), before);
    /* Some of it resident, in runs of all lengths. */
    for (round = 0; round < 3; round++) {
        char *p = A(calloc)(1, bytes);
        for (i = 0; i < bytes; i += 4096 / 4) CHECK(p[i] == 0, "not zero at %zu", i);
        for (i = 0; i < bytes; i += 4096 * (1 + i / 8192 % 97)) p[i] = 1;
        A(free)(p);
    }
}

static void mode_grown(size_t bytes) {
    long before = status_mib("VmHWM");
    int round;
    for (round = 0; round < 5; round++) {
        char *p = A(calloc)(1, bytes), *q = NULL, *wall = NULL;
        CHECK(p != NULL, "calloc");
        p[bytes / 3] = 7;
        if (round % 2) CHECK((wall = A(malloc)(bytes)) != NULL, "what may stand behind it");
        CHECK((q = A(realloc)(p, 2 * bytes)) != NULL, "realloc");
        CHECK(q[bytes / 3] == 7 && q[bytes / 3 + 5000] == 0 && q[bytes - 1] == 0, "not the content in round %d", round);
        q[2 * bytes - 1] = 1;
        A(free)(q);
        A(free)(wall);
    }
    CHECK(status_mib("VmHWM") < before + 20, "%ld MiB, before %ld", status_mib("VmHWM"), before);
}

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "";
    driver_open();
    if (strcmp(mode, "late") == 0 && count == 3) mode_late(strcmp(words[2], "RLIMIT_AS") ? RLIMIT_DATA : RLIMIT_AS);
    else if (strcmp(mode, "burst") == 0 && count == 3) mode_burst(strcmp(words[2], "trim") == 0);
    else if (strcmp(mode, "lock") == 0) mode_lock();
    else if (strcmp(mode, "filter") == 0 && count > 2) mode_filter(words[2], words + 3);
    else if (strcmp(mode, "mark") == 0 && count == 5) mode_mark(words[2], (size_t)atoi(words[3]) * 1024, words[4]);
    else if (strcmp(mode, "zero") == 0 && count == 3) mode_zero((size_t)atoi(words[2]) * MIB);
    else if (strcmp(mode, "grown") == 0 && count == 3) mode_grown((size_t)atoi(words[2]) * MIB);
    else CHECK(0, "usage: see the head of kernel.c");
    if (write(1, "fine\n", 5) != 5) return 1;
    _exit(0);
}
