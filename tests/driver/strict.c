/* A filter that kills at every system call that a program of the C library's malloc does not make:
 *     lean HOW     one thread: memory comes by mmap and brk, and goes by munmap
 *     full HOW     threads as well, a fork, and realloc of what has a mapping of its own
 *     exec HOW     the same, and the filter is there before the program begins: then the allocator is not told. It may call
 *                  mincore, clock_gettime, getpid and tgkill as well
 *     least        the kernel's strict mode: read, write and exit; blocks that the process has come and go
 * HOW is the call that installs it: `prctl`, or `syscall` as libseccomp does. */
#include "support.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MANY = 100000, MIB = 1 << 20, THREADS = 4 };
static const int lean[] = {SYS_read, SYS_write, SYS_close, SYS_fstat, SYS_newfstatat, SYS_brk, SYS_mmap, SYS_munmap,
                           SYS_futex, SYS_rt_sigreturn, SYS_clock_nanosleep, SYS_getrandom, SYS_exit, SYS_exit_group};
static const int full[] = {SYS_mremap, SYS_mprotect, SYS_madvise, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq,
                           SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_openat, SYS_sched_getaffinity, SYS_wait4};
static const int start[] = {SYS_execve, SYS_mincore, SYS_clock_gettime, SYS_getpid, SYS_tgkill, SYS_pread64, SYS_faccessat,
                            SYS_set_tid_address, SYS_prlimit64,
#ifdef __x86_64__
                            SYS_access, SYS_arch_prctl
#endif
};

static struct sock_filter code[128];
static struct sock_fprog program = {0, code};

static void filter_allow(const int *calls, size_t count) {
    for (size_t i = 0; i < count; i++) {
        code[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
}

static void filter_install(const char *mode, const char *how) {
    code[program.len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    filter_allow(lean, sizeof lean / sizeof *lean);
    if (strcmp(mode, "lean")) filter_allow(full, sizeof full / sizeof *full);
    if (strcmp(mode, "exec") == 0) filter_allow(start, sizeof start / sizeof *start);
    code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    if (strcmp(how, "syscall") == 0) CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "seccomp");
    else CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "seccomp");
}

static void nap(long ms) {
    struct timespec t = {0, ms * 1000000};
    nanosleep(&t, NULL);
}

/* Small, large and cleared blocks come, go, and come again after a while. */
static void blocks(void) {
    char **p = A(calloc)(MANY, sizeof *p), *big[40];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < MANY; i++) memset(p[i] = A(malloc)(10 + i % 500), 1, 10 + i % 500);
        for (int i = 0; i < 40; i++) {
            big[i] = A(calloc)(1, (i + 1) * 100000);
            for (int j = 0; j < (i + 1) * 100000; j += 1000) CHECK(big[i][j] == 0, "not zero: %d of block %d", j, i);
            memset(big[i], 1, (i + 1) * 100000);
        }
        for (int i = 0; i < 40; i++) A(free)(big[i]);
        for (int i = 0; i < MANY; i++) A(free)(p[i]);
        nap(80);
    }
    A(free)(p);
}

static void *body(void *unused) {
    (void)unused;
    blocks();
    return NULL;
}

/* A block grows to 300 MiB and keeps its content. */
static void growing(void) {
    size_t size = 1000;
    unsigned char *p = A(malloc)(size);
    memset(p, 7, size);
    while (size < 300u * MIB) {
        p = A(realloc)(p, size + size / 2);
        for (size_t i = 0; i < size; i += 997) CHECK(p[i] == 7, "byte %zu of %zu", i, size);
        memset(p + size, 7, size / 2);
        size += size / 2;
    }
    A(free)(p);
}

static void threads(void) {
    pthread_t thread[THREADS];
    pid_t child;
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&thread[i], NULL, body, NULL) == 0, "thread");
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    child = fork();
    if (child == 0) {
        blocks();
        _exit(0);
    }
    int status = 0;
    CHECK(wait4(child, &status, 0, NULL) == child && status == 0, "the child ended with %x", status);
}

static void least(void) {
    static char *p[MANY];
    for (int i = 0; i < MANY; i++) p[i] = A(malloc)(i % 3000 + 1);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0, "strict mode");
    for (int i = 0; i < MANY - 1; i++) A(free)(p[i]); /* the last stays: so glibc's heap does not shrink */
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 1000; i++) memset(p[i] = A(malloc)(i + 1), 1, i + 1);
        for (int i = 0; i < 1000; i++) A(free)(p[i]);
    }
    if (write(1, "fine\n", 5) == 5) syscall(SYS_exit, 0);
}

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "", *how = count > 2 ? words[2] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    if (strcmp(mode, "least") == 0) least();
    if (strcmp(how, "begun")) filter_install(mode, how);
    if (strcmp(mode, "exec") == 0 && strcmp(how, "begun")) execl(words[0], words[0], mode, "begun", (char *)NULL);
    blocks();
    if (strcmp(mode, "lean")) {
        growing();
        threads();
        blocks();
    }
    puts("fine");
    return 0;
}
