/* The kernel's memory calls as one with longer pages has them (-DRT_PRETEND_PAGE=65536): addresses that do not begin a page are
 * refused, lengths are rounded up, and what it maps begins a page. Included in base/system.h. */
#ifndef PRETEND_H
#define PRETEND_H
enum { PRETEND_REAL = 4096 };

static inline size_t pretend_up(size_t bytes) { return (bytes + RT_PRETEND_PAGE - 1) & ~(size_t)(RT_PRETEND_PAGE - 1); }
static inline int pretend_is_whole(size_t at) { return (at & (RT_PRETEND_PAGE - 1)) == 0; }

/* A range of whole pages that nobody has: the address, or an error. */
static inline long pretend_map(size_t bytes, long access, long flags, long file, long offset) {
    size_t whole = pretend_up(bytes), room = whole + RT_PRETEND_PAGE, at;
    long r = rt_system6_real(SYS_mmap, 0, (long)room, access, flags, file, offset);
    if ((unsigned long)r > -4096ul) return r;
    at = pretend_up((size_t)r);
    if (at > (size_t)r) rt_system6_real(SYS_munmap, r, (long)(at - (size_t)r), 0, 0, 0, 0);
    rt_system6_real(SYS_munmap, (long)(at + whole), (long)((size_t)r + room - at - whole), 0, 0, 0, 0);
    return (long)at;
}

static inline long pretend_remap(size_t from, size_t before, size_t now, long flags, size_t to) {
    long r;
    if (!pretend_is_whole(from)) return -EINVAL;
    if (flags & MREMAP_FIXED) {
        if (!pretend_is_whole(to)) return -EINVAL;
    } else if (flags & MREMAP_MAYMOVE) {
        r = pretend_map(now, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if ((unsigned long)r > -4096ul) return r;
        to = (size_t)r;
        flags |= MREMAP_FIXED;
    }
    return rt_system6_real(SYS_mremap, (long)from, (long)pretend_up(before), (long)pretend_up(now), flags, (long)to, 0);
}

/* One byte for each long page: whether any of its parts is there. */
static inline long pretend_resident(size_t at, size_t bytes, unsigned char *present) {
    unsigned char parts[RT_PRETEND_PAGE / PRETEND_REAL];
    if (!pretend_is_whole(at)) return -EINVAL;
    for (size_t done = 0; done < bytes; done += RT_PRETEND_PAGE) {
        long r = rt_system6_real(SYS_mincore, (long)(at + done), RT_PRETEND_PAGE, (long)parts, 0, 0, 0);
        if (r) return r;
        *present = 0;
        for (size_t i = 0; i < sizeof parts; i++) *present |= parts[i] & 1;
        present++;
    }
    return 0;
}

struct pretend_range { /* struct iovec */
    size_t at, bytes;
};

static inline long rt_system6(long n, long a, long b, long c, long d, long e, long f) {
    switch (n) {
    case SYS_mmap:
        if (!(d & (MAP_FIXED | MAP_FIXED_NOREPLACE))) return pretend_map((size_t)b, c, d, e, f);
        break;
    case SYS_munmap:
    case SYS_madvise:
    case SYS_mprotect: break;
    case SYS_mremap: return pretend_remap((size_t)a, (size_t)b, (size_t)c, d, (size_t)e);
    case SYS_mincore: return pretend_resident((size_t)a, (size_t)b, (unsigned char *)c);
    case 440: /* process_madvise */
        for (long i = 0; i < c; i++) {
            const struct pretend_range *range = (const struct pretend_range *)b + i;
            /* (A length that is no page's would be rounded up: nothing of ours has one.) */
            if (!pretend_is_whole(range->at) || !pretend_is_whole(range->bytes)) return -EINVAL;
        }
        return rt_system6_real(n, a, b, c, d, e, f);
    default: return rt_system6_real(n, a, b, c, d, e, f);
    }
    if (!pretend_is_whole((size_t)a)) return -EINVAL;
    return rt_system6_real(n, a, (long)pretend_up((size_t)b), c, d, e, f);
}
#endif
