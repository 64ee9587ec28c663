/* What the kernel says of this process, by system calls and without malloc; for drivers that look at themselves. */
#ifndef STATUS_H
#define STATUS_H
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number behind `name` in a file of /proc; -1 where there is none. */
static inline long number_in(const char *path, const char *name) {
    char text[1 << 13], *at;
    int file = open(path, O_RDONLY);
    long n = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    text[n > 0 ? n : 0] = 0;
    at = strstr(text, name);
    return at ? strtol(at + strlen(name), NULL, 10) : -1;
}
static inline long threads(void) { return number_in("/proc/self/status", "Threads:"); }
static inline long resident_kib(void) { return number_in("/proc/self/status", "VmRSS:"); }
#endif
