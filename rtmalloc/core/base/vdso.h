/* The functions that the kernel maps into every process, for the clock and the CPU without a system call.
 * They are found in its small ELF image by hand: dlsym takes locks, allocates, and can be interposed.
 * Without an image (valgrind, some emulators) the system calls serve. */
#ifndef RT_VDSO_H
#define RT_VDSO_H
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include "system.h"

typedef long (*rt_vdso_clock)(int clock, struct timespec *);
typedef long (*rt_vdso_cpu)(unsigned *cpu, unsigned *node, void *);
static struct {
    uint32_t looked; /* 1: what follows is final; two threads may look at once, and store the same */
    rt_vdso_clock clock;
    rt_vdso_cpu cpu;
    uint32_t kernel; /* its version: major, minor, and patch level in the last byte */
} rt_vdso;

#if defined(__aarch64__)
#define RT_VDSO_CLOCK "__kernel_clock_gettime"
#define RT_VDSO_CPU "" /* there is none */
#else
#define RT_VDSO_CLOCK "__vdso_clock_gettime"
#define RT_VDSO_CPU "__vdso_getcpu"
#endif

/* Symbols of the table that a GNU hash section describes: the end of the longest chain. */
static inline uint32_t rt_vdso_gnu_count(const uint32_t *hash) {
    const uint32_t *buckets = hash + 4 + hash[2] * (sizeof(ElfW(Addr)) / 4), *chains = buckets + hash[0];
    uint32_t last = 0;
    for (uint32_t i = 0; i < hash[0]; i++) last = buckets[i] > last ? buckets[i] : last;
    if (last < hash[1]) return 0;
    while (!(chains[last - hash[1]] & 1)) last++;
    return last + 1;
}

static inline uint32_t rt_vdso_version(const char *at, const char *end) {
    while (at < end) {
        const ElfW(Nhdr) *note = (const void *)at;
        const char *name = at + sizeof *note, *text = name + ((note->n_namesz + 3) & ~3u);
        if (note->n_type == 0 && note->n_namesz == 6 && note->n_descsz == 4 && memcmp(name, "Linux", 6) == 0)
            return *(const uint32_t *)text;
        at = text + ((note->n_descsz + 3) & ~3u);
    }
    return 0;
}

static inline void rt_vdso_read(const char *image) {
    const ElfW(Ehdr) *head = (const void *)image;
    const ElfW(Phdr) *part = (const void *)(image + head->e_phoff);
    const ElfW(Dyn) *entry = NULL;
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL, *base = image;
    uint32_t count = 0;
    for (int i = 0; i < head->e_phnum; i++) {
        if (part[i].p_type == PT_LOAD) base = image + part[i].p_offset - part[i].p_vaddr;
        if (part[i].p_type == PT_NOTE && !rt_vdso.kernel)
            rt_vdso.kernel = rt_vdso_version(image + part[i].p_offset, image + part[i].p_offset + part[i].p_filesz);
        if (part[i].p_type == PT_DYNAMIC) entry = (const void *)(image + part[i].p_offset);
    }
    for (; entry && entry->d_tag != DT_NULL; entry++) {
        const char *at = base + entry->d_un.d_ptr;
        if (entry->d_tag == DT_SYMTAB) symbols = (const void *)at;
        if (entry->d_tag == DT_STRTAB) names = at;
        if (entry->d_tag == DT_HASH) count = ((const uint32_t *)at)[1];
        if (entry->d_tag == DT_GNU_HASH && !count) count = rt_vdso_gnu_count((const uint32_t *)at);
    }
    for (uint32_t i = 0; symbols && names && i < count; i++) {
        const char *name = names + symbols[i].st_name;
        if (symbols[i].st_shndx == SHN_UNDEF || !*name) continue;
        if (strcmp(name, RT_VDSO_CLOCK) == 0)
            __atomic_store_n(&rt_vdso.clock, (rt_vdso_clock)(base + symbols[i].st_value), __ATOMIC_RELAXED);
        if (strcmp(name, RT_VDSO_CPU) == 0)
            __atomic_store_n(&rt_vdso.cpu, (rt_vdso_cpu)(base + symbols[i].st_value), __ATOMIC_RELAXED);
    }
}

static inline void rt_vdso_find(void) {
    const char *image;
    if (__atomic_load_n(&rt_vdso.looked, __ATOMIC_ACQUIRE)) return;
    image = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (image) rt_vdso_read(image);
    __atomic_store_n(&rt_vdso.looked, 1, __ATOMIC_RELEASE);
}

static inline uint32_t rt_vdso_kernel(void) {
    rt_vdso_find();
    return rt_vdso.kernel;
}

static inline struct timespec rt_clock(int clock) {
    struct timespec t = {0, 0};
    rt_vdso_clock read;
    rt_vdso_find();
    read = __atomic_load_n(&rt_vdso.clock, __ATOMIC_RELAXED);
    if (!read || read(clock, &t) != 0) rt_system(SYS_clock_gettime, clock, &t);
    return t;
}

static inline uint32_t rt_cpu_here(void) {
    unsigned cpu = 0;
    rt_vdso_cpu read;
    rt_vdso_find();
    read = __atomic_load_n(&rt_vdso.cpu, __ATOMIC_RELAXED);
    if (!read || read(&cpu, NULL, NULL) != 0) rt_system_spared(SYS_getcpu, &cpu, NULL, NULL);
    return cpu;
}
#endif
