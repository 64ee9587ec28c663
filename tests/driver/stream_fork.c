/* fork while other threads are in getline and fflush(NULL): the C library holds the lock of its streams and calls malloc. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile int stop;
static void *reader(void *f) { while (!stop) { FILE *s = f; char *l = NULL; size_t n = 0; rewind(s); getline(&l, &n, s); free(l); } return 0; }
static void *flusher(void *x) { while (!stop) fflush(NULL); return 0; }
int main(void) {
  pthread_t t[4]; FILE *f[2];
  for (int i = 0; i < 2; i++) { f[i] = tmpfile(); for (int k = 0; k < 20000; k++) fputc('x', f[i]); fputc('\n', f[i]); pthread_create(&t[i], 0, reader, f[i]); pthread_create(&t[2 + i], 0, flusher, 0); }
  for (int i = 0; i < 100; i++) { pid_t p = fork(); if (p == 0) { free(malloc(100)); _exit(0); } int st; waitpid(p, &st, 0); }
  stop = 1; for (int i = 0; i < 4; i++) pthread_join(t[i], 0); puts("ok"); return 0; }
