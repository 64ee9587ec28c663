/* The background thread in odd company: each mode ends with 0 where nothing hangs, dies, or stays for good.
 *
 *     companion clone     a copy of the process by clone, in which the thread does not exist, changes who it is, again and again
 *     companion vfork     a child of vfork allocates, and ends; then the parent forks, again and again
 *     companion locks     ... gives up further rights; the parent still gets a thread
 *     companion killed    a filter for all threads kills the thread alone; then forks
 *     companion filter    a thread puts a filter in front of itself that allows no further thread
 *     companion fifo      a thread with real-time priority on one CPU starts the thread
 *     companion large     a thread that has large blocks alone, and ends
 *
 * Prints "NAME VALUE". Forks and calls happen so often that a wait of a second in each outlasts the test's patience. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "status.h"

enum { BLOCK = 60000, MANY = 100 };

static void rest(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void burst(int mib) {
    int n = (mib << 20) / BLOCK, i;
    void **p = mmap(NULL, (size_t)n * sizeof *p, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (i = 0; i < n; i++) p[i] = memset(malloc(BLOCK), 1, BLOCK);
    for (i = 0; i < n; i++) free(p[i]);
    munmap(p, (size_t)n * sizeof *p);
}
static int wait_for(pid_t child) {
    int status = 1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}
static void fork_often(void) {
    int i, bad = 0;
    for (i = 0; i < MANY; i++) {
        pid_t child = fork();
        if (!child) _exit(0);
        bad += wait_for(child);
    }
    printf("bad_forks %d\n", bad);
}
static void filter(long number, unsigned what, unsigned flags) {
    struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                              BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1), BPF_STMT(BPF_RET | BPF_K, what),
                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog p = {4, f};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p)) exit(77);
}
/* The thread called rtmalloc; 0 if there is none. */
static int companion(void) {
    DIR *all = opendir("/proc/self/task");
    struct dirent *one;
    char path[300], name[16];
    int found = 0, file;
    while ((one = readdir(all))) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", one->d_name);
        file = open(path, O_RDONLY);
        if (file < 0) continue;
        if (read(file, name, sizeof name) > 8 && strncmp(name, "rtmalloc", 8) == 0) found = atoi(one->d_name);
        close(file);
    }
    closedir(all);
    return found;
}

static void mode_clone(void) {
    pid_t child;
    int i;
    burst(64);
    rest(20);
    printf("threads %ld\n", threads());
    fflush(stdout);
    child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (!child) {
        for (i = 0; i < MANY; i++)
            if (setgroups(0, NULL) || setgid(0) || setuid(0) || unshare(CLONE_FS)) _exit(1);
        _exit(0);
    }
    printf("bad %d\n", wait_for(child));
}
static void mode_vfork(void) {
    enum { COUNT = 2000 };
    static void *p[COUNT];
    int i;
    for (i = 0; i < COUNT; i++) p[i] = memset(malloc(BLOCK), 1, BLOCK);
    if (!vfork()) {
        for (i = 0; i < COUNT; i++) free(p[i]);
        for (i = 0; i < 200000; i++) {
            void *volatile q = malloc(64 + (size_t)i % 512);
            free(q);
        }
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    wait(NULL);
    fork_often();
}
static void mode_locks(void) {
    if (!vfork()) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    wait(NULL);
    burst(64);
    rest(3000);
    printf("resident_kib %ld\n", resident_kib());
}
static void mode_killed(void) {
    burst(64);
    rest(20);
    printf("threads %ld\n", threads());
    filter(SYS_madvise, SECCOMP_RET_KILL_THREAD, SECCOMP_FILTER_FLAG_TSYNC);
    rest(2000);
    fork_often();
}
static void *filtered(void *argument) {
    int i;
    (void)argument;
    filter(SYS_clone, SECCOMP_RET_KILL_PROCESS, 0);
    for (i = 0; i < 6; i++, rest(20)) burst(64);
    return NULL;
}
static void *urgent(void *argument) {
    struct sched_param now = {50};
    cpu_set_t set;
    int i, id = 0;
    (void)argument;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof set, &set);
    if (sched_setscheduler(0, SCHED_FIFO, &now)) exit(77);
    for (i = 0; i < 100 && !id; i++, rest(20)) {
        burst(64);
        id = companion();
    }
    rest(50);
    sched_getaffinity(id, sizeof set, &set);
    printf("policy %d\ncpus %d\n", sched_getscheduler(id), CPU_COUNT(&set));
    return NULL;
}
static void *large(void *argument) {
    burst(*(int *)argument);
    return NULL;
}
static void in_thread(void *(*body)(void *)) {
    pthread_t thread;
    int mib = 256;
    pthread_create(&thread, NULL, body, &mib);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
    const char *mode = argc == 2 ? argv[1] : "";
    if (strcmp(mode, "clone") == 0) mode_clone();
    else if (strcmp(mode, "vfork") == 0) mode_vfork();
    else if (strcmp(mode, "locks") == 0) mode_locks();
    else if (strcmp(mode, "killed") == 0) mode_killed();
    else if (strcmp(mode, "filter") == 0) in_thread(filtered);
    else if (strcmp(mode, "fifo") == 0) in_thread(urgent);
    else if (strcmp(mode, "large") == 0) {
        in_thread(large);
        rest(4000);
        printf("resident_kib %ld\n", resident_kib());
    } else return 2;
    return 0;
}
