/* fork in the handler of a signal that interrupts malloc and free, in a process of one thread. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile int n;
static void h(int s) { pid_t p = fork(); if (p == 0) _exit(0); int st; waitpid(p, &st, 0); n++; }
int main(void) {
  static void *o[64]; struct sigaction a = {.sa_handler = h}; sigaction(SIGALRM, &a, 0);
  struct itimerval t = {{0, 900}, {0, 900}}; setitimer(ITIMER_REAL, &t, 0);
  for (unsigned i = 0; n < 300; i++) { free(o[i % 64]); o[i % 64] = malloc(20000 + (i * 7919) % 50000); }
  puts("ok"); return 0; }
