/* The arena's memory as the kernel sees it: mapped, given back, unmapped, looked at; a part of platform.h. */
#ifndef RT_MAPPING_H
#define RT_MAPPING_H

/* What libc's calls do by which a program tells the kernel about its memory: their names are ours (calls/marks.pxd). */
static inline int rt_os_madvise(void *p, size_t bytes, int advice) {
    return rt_system_answer(rt_system(SYS_madvise, p, bytes, advice));
}
static inline int rt_os_mprotect(void *p, size_t bytes, int access) {
    return rt_system_answer(rt_system(SYS_mprotect, p, bytes, access));
}
static inline int rt_os_mlock(const void *p, size_t bytes) { return rt_system_answer(rt_system(SYS_mlock, p, bytes)); }
static inline int rt_os_mlock2(const void *p, size_t bytes, unsigned flags) {
    /* As glibc: without flags it is mlock, on kernels before 4.4 too. */
    return flags ? rt_system_answer(rt_system(SYS_mlock2, p, bytes, flags)) : rt_os_mlock(p, bytes);
}
static inline long rt_os_mbind(void *p, unsigned long bytes, int how, const unsigned long *nodes, unsigned long most, unsigned flags) {
    return rt_system_answer(rt_system(SYS_mbind, p, bytes, how, nodes, most, flags));
}

/* The end of the addresses that this process may use: the power of two above the main thread's stack. Kernels, emulators
 * and valgrind differ in it. */
static inline size_t rt_os_address_end(void) {
#ifdef __SANITIZE_THREAD__
    return (size_t)1 << 40; /* its shadow takes most of what lies above */
#endif
    size_t stack = (size_t)getauxval(AT_RANDOM), here = (size_t)__builtin_frame_address(0);
    if (stack < here) stack = here;
    return (size_t)1 << (64 - __builtin_clzl(stack));
}

/* Whether MAP_STACK keeps huge pages away: from Linux 6.7 on. Before, the flag means nothing. The kernel's image tells the
 * version; where there is none it is asked. */
static inline int rt_os_knows_stack(void) {
    static int answer; /* 1 no, 2 yes; threads that ask at once find the same */
    int known = __atomic_load_n(&answer, __ATOMIC_RELAXED);
    if (!known) {
        uint32_t version = rt_vdso_kernel();
        struct utsname kernel;
        unsigned major = version >> 16, minor = version >> 8 & 255;
        const char *at = !version && rt_system_spared(SYS_uname, &kernel) == 0 ? kernel.release : "";
        while (*at >= '0' && *at <= '9') major = major * 10 + (unsigned)(*at++ - '0');
        if (*at == '.')
            for (at++; *at >= '0' && *at <= '9'; at++) minor = minor * 10 + (unsigned)(*at - '0');
        known = 1 + (major > 6 || (major == 6 && minor >= 7));
        __atomic_store_n(&answer, known, __ATOMIC_RELAXED);
    }
    return known - 1;
}

/* What all memory of the arena is mapped with: mmap is the one call that every program makes, so it is made whatever a
 * filter of system calls forbids. MAP_STACK saves the madvise against huge pages. */
enum { RT_OS_ARENA_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK };
static inline void rt_os_no_huge_pages(void *p, size_t bytes) {
    if (!rt_os_knows_stack()) rt_madvise(p, bytes, MADV_NOHUGEPAGE);
}

/* Zeroed, readable and writable memory in small pages at exactly `where`, never over another mapping. Kernels (and valgrind)
 * that do not know MAP_FIXED_NOREPLACE take the address as a hint, so the answer is compared. */
enum { RT_OS_MAPPED = 0, RT_OS_OCCUPIED = 1, RT_OS_REFUSED = -1 };
static inline int rt_os_map_at(void *where, size_t bytes) {
    long r = rt_mmap_answer(where, bytes, PROT_READ | PROT_WRITE, RT_OS_ARENA_FLAGS | MAP_FIXED_NOREPLACE);
    if (rt_system_failed(r)) return r == -EEXIST ? RT_OS_OCCUPIED : RT_OS_REFUSED;
    if ((void *)r != where) {
        rt_munmap((void *)r, bytes);
        return RT_OS_OCCUPIED;
    }
    rt_os_no_huge_pages(where, bytes);
    return RT_OS_MAPPED;
}

static inline size_t rt_os_page_size(void) {
#ifdef RT_PRETEND_PAGE
    return RT_PRETEND_PAGE;
#endif
    size_t page = getauxval(AT_PAGESZ);
    return page ? page : 4096;
}

/* Map part of the arena anew: zeroed, and without whatever the program told the kernel about it. 0 on success. (Less than whole
 * pages share theirs with others.) */
static inline int rt_os_renew(void *p, size_t bytes) {
    if (rt_confinement() == RT_STRICT) return -1;
    if (((size_t)p | bytes) & (rt_os_page_size() - 1)) return -1;
    void *q = rt_mmap(p, bytes, PROT_READ | PROT_WRITE, RT_OS_ARENA_FLAGS | MAP_FIXED);
    if (q == p) rt_os_no_huge_pages(p, bytes);
    return q == p ? 0 : -1;
}

/* Unmap part of the arena; 0 on success. Splitting a mapping fails at vm.max_map_count. */
static inline int rt_os_release(void *p, size_t bytes) { return rt_munmap(p, bytes); }

/* RT_GUARD (test builds only): what was given back is inaccessible until it is handed out again, so that a
 * use of it, or without having taken it, dies at the spot. The caller of rt_guard_open owns [p, p + bytes). */
#ifdef RT_GUARD
enum { RT_GUARDED = 1 };
static inline void rt_guard_close(void *p, size_t bytes) {
    rt_mprotect(p, bytes, PROT_NONE); /* at vm.max_map_count it stays open */
}
static inline void rt_guard_open(void *p, size_t bytes) {
    size_t page = rt_os_page_size(), low = (size_t)p & ~(page - 1), high = ((size_t)p + bytes + page - 1) & ~(page - 1);
    if (rt_mprotect((void *)low, high - low, PROT_READ | PROT_WRITE) != 0) abort();
}
#else
enum { RT_GUARDED = 0 };
static inline void rt_guard_close(void *p, size_t bytes) { (void)p, (void)bytes; }
static inline void rt_guard_open(void *p, size_t bytes) { (void)p, (void)bytes; }
#endif

/* Whether new mappings are locked into memory (mlockall(MCL_FUTURE)): MADV_DONTNEED refuses locked pages. */
static inline int rt_os_locks_all(void) {
    void *p = rt_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    int locked = p == MAP_FAILED || rt_madvise(p, 4096, MADV_DONTNEED) != 0;
    if (p != MAP_FAILED) rt_munmap(p, 4096);
    return locked;
}

/* Drop pages of memory that is in use; they read as zero afterwards. 0 on success. Where madvise is forbidden they are mapped
 * anew, and so are pages that the program has locked and freed, unless it wants all of its memory locked. */
static inline int rt_os_drop(void *p, size_t bytes) {
    long r = rt_system_spared(SYS_madvise, p, bytes, MADV_DONTNEED);
    if (!rt_system_failed(r)) return 0;
    return r == -EINVAL && rt_os_locks_all() ? -1 : rt_os_renew(p, bytes);
}

/* Give the pages back; they read as zero afterwards. 0 on success. */
static inline int rt_os_discard(void *p, size_t bytes) {
    int r = rt_os_drop(p, bytes);
    if (r == 0) rt_guard_close(p, bytes);
    return r;
}

/* Make whole pages of the arena zero without making more of them resident: long runs of absent pages are discarded, because what
 * they hold may be swapped out; the rest is written. Where mincore is forbidden all count as absent. */
static inline void rt_os_clear(char *p, size_t bytes, size_t page) {
    enum { ABSENT_LEAST = 16 }; /* pages that are worth a system call */
    unsigned char present[4096];
    char *absent = p; /* [absent, at) is not resident */
    if (rt_confinement() && rt_os_renew(p, bytes) == 0) return;
    while (bytes) {
        size_t piece = bytes < page * sizeof present ? bytes : page * sizeof present;
        if (rt_system_failed(rt_system_spared(SYS_mincore, p, piece, present))) memset(present, 0, piece / page);
        for (unsigned char *at = present, *end = present + piece / page; (at = memchr(at, 1, (size_t)(end - at))); at++) {
            char *here = p + (size_t)(at - present) * page;
            if ((size_t)(here - absent) >= ABSENT_LEAST * page && rt_os_drop(absent, (size_t)(here - absent)) == 0)
                absent = here;
            memset(absent, 0, (size_t)(here + page - absent));
            absent = here + page;
        }
        p += piece;
        bytes -= piece;
    }
    if (p > absent && rt_os_drop(absent, (size_t)(p - absent)) != 0) memset(absent, 0, (size_t)(p - absent));
}

#endif
