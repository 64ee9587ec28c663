/* Public reports about forks under other allocators, each as a small program: `forks NAME`. tests/core/test_reports.py has the
 * table of names and addresses. A child that fails or hangs fails the program. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int stop;
static void churn(int rounds) {
    void *p[200];
    while (rounds--) {
        for (int i = 0; i < 200; i++) memset(p[i] = malloc(i * 97 + 1), 1, i * 97 + 1);
        for (int i = 0; i < 200; i++) free(p[i]);
    }
}
static void *noise(void *unused) {
    while (!stop) churn(1);
    return unused;
}
static pthread_t threads[64];
static void begin(int count, void *(*body)(void *)) {
    for (int i = 0; i < count; i++) pthread_create(&threads[i], NULL, body, NULL);
}
static void end(int count) {
    stop = 1;
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}
static void await(pid_t child) {
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status) {
        fprintf(stderr, "a child ended with %x\n", status);
        abort();
    }
}
static int is_child(pid_t *child) {
    *child = fork();
    if (*child == 0) alarm(20);
    return *child == 0;
}

static void child_allocates(void) {
    pid_t child;
    begin(4, noise);
    for (int i = 0; i < 20; i++) {
        if (is_child(&child)) { free(calloc(1, 100000)); churn(20); _exit(0); }
        await(child);
    }
    end(4);
}
static void *others[4][1000];
static void *makes(void *slot) {
    void **mine = slot;
    for (int i = 0; i < 1000; i++) mine[i] = malloc(i * 31 + 1);
    return noise(NULL);
}
static void child_frees_others(void) {
    pid_t child;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, makes, others[i]);
    usleep(100000);
    for (int i = 0; i < 20; i++) {
        if (is_child(&child)) {
            for (int k = 0; k < 4000; k++) free(others[k / 1000][k % 1000]);
            churn(20);
            _exit(0);
        }
        await(child);
    }
    end(4);
}
static void *forks(void *unused) {
    pid_t child;
    for (int i = 0; i < 4; i++) {
        churn(2);
        if (is_child(&child)) { churn(2); _exit(0); }
        churn(2);
        await(child);
    }
    return unused;
}
static void all_threads_fork(void) { begin(40, forks); end(40); }
static void *exits(void *unused) {
    pid_t child;
    for (int i = 0; i < 5; i++) {
        if (is_child(&child)) exit(0);
        await(child);
    }
    return unused;
}
static void child_of_a_thread_exits(void) { begin(8, exits); end(8); }
static pthread_t slow;
static void *ends_slowly(void *unused) { usleep(100000); churn(200); return unused; }
static void joins(void) { pthread_join(slow, NULL); }
static void handler_joins(void) {
    pid_t child;
    pthread_atfork(joins, NULL, NULL);
    pthread_create(&slow, NULL, ends_slowly, NULL);
    if (is_child(&child)) { churn(10); _exit(0); }
    await(child);
}
static void handler_begins(void) { stop = 0; pthread_create(&slow, NULL, noise, NULL); }
static void child_handler_begins_a_thread(void) {
    pid_t child;
    pthread_atfork(NULL, NULL, handler_begins);
    begin(4, noise);
    for (int i = 0; i < 20; i++) {
        if (is_child(&child)) { churn(50); stop = 1; pthread_join(slow, NULL); _exit(0); }
        await(child);
    }
    end(4);
}
static void handler_churns(void) { churn(3); free(calloc(1, 3 << 20)); }
static void handlers_allocate(void) {
    pthread_atfork(handler_churns, handler_churns, handler_churns);
    child_allocates();
}
static void daemon_with_threads(void) {
    pid_t child, grandchild;
    if (is_child(&child)) {
        setsid();
        if (is_child(&grandchild)) { begin(5, noise); churn(300); end(5); _exit(0); }
        await(grandchild);
        _exit(0);
    }
    await(child);
}
static void grandchildren(void) {
    pid_t child, grandchild;
    begin(4, noise);
    for (int i = 0; i < 20; i++) {
        if (is_child(&child)) {
            churn(3);
            if (is_child(&grandchild)) { churn(3); _exit(0); }
            churn(3);
            await(grandchild);
            _exit(0);
        }
        await(child);
    }
    end(4);
}
static void child_prepares_to_exec(void) {
    pid_t child;
    char name[20];
    begin(4, noise);
    for (int i = 0; i < 30; i++) {
        if (is_child(&child)) {
            DIR *directory = opendir("/proc/self/fd");
            while (readdir(directory)) {}
            closedir(directory);
            for (int k = 0; k < 100; k++) { snprintf(name, sizeof name, "NAME_%d", k); setenv(name, name, 1); }
            execlp("true", "true", (char *)NULL);
            _exit(1);
        }
        await(child);
    }
    end(4);
}
static void popen_meanwhile(void) {
    char line[20];
    begin(4, noise);
    for (int i = 0; i < 20; i++) {
        FILE *pipe = popen("echo fine", "r");
        if (!pipe || !fgets(line, sizeof line, pipe) || strcmp(line, "fine\n") || pclose(pipe)) abort();
    }
    end(4);
}
static void leaves(int signal) { (void)signal; exit(0); }
static void *at_end;
static void cleans(void) { free(at_end); churn(5); }
static void signal_ends_the_child(void) {
    pid_t child;
    at_end = malloc(5000);
    atexit(cleans);
    for (int i = 0; i < 10; i++) {
        if (is_child(&child)) {
            signal(SIGTERM, leaves);
            begin(4, noise);
            usleep(20000);
            kill(getpid(), SIGTERM);
            pause();
        }
        await(child);
    }
}

static const struct { const char *name; void (*run)(void); } cases[] = {
    {"child_allocates", child_allocates}, {"child_frees_others", child_frees_others}, {"all_threads_fork", all_threads_fork},
    {"child_of_a_thread_exits", child_of_a_thread_exits}, {"handler_joins", handler_joins},
    {"child_handler_begins_a_thread", child_handler_begins_a_thread}, {"handlers_allocate", handlers_allocate},
    {"daemon_with_threads", daemon_with_threads}, {"grandchildren", grandchildren},
    {"child_prepares_to_exec", child_prepares_to_exec}, {"popen_meanwhile", popen_meanwhile},
    {"signal_ends_the_child", signal_ends_the_child},
};

int main(int count, char **words) {
    for (size_t i = 0; count == 2 && i < sizeof cases / sizeof *cases; i++)
        if (strcmp(cases[i].name, words[1]) == 0) {
            cases[i].run();
            return write(1, "fine\n", 5) != 5;
        }
    return 2;
}
