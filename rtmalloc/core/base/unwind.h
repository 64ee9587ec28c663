/* The native frames of the calling thread: return addresses by .eh_frame (x86-64), else by frame pointers.
 *
 * It never faults, takes no lock and allocates nothing. The pages that hold frames of the walk itself are there, and are read
 * as they are: mostly all that a shallow stack has. Beyond, the stack is read by process_vm_readv, which answers with an error
 * where memory is not there: a stack that is not a thread's, or one that greenlets have swapped, ends the walk early. Which
 * module an address lies in _dl_find_object of glibc 2.35 tells without a lock. A frame has to lie above the one before. */
#ifndef RT_UNWIND_H
#define RT_UNWIND_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include "system.h"

enum { RT_UNWIND_NONE, RT_UNWIND_TABLES, RT_UNWIND_POINTERS };
enum { RT_UNWIND_WINDOW = 1024, RT_UNWIND_REGISTERS = 17, RT_UNWIND_REMEMBERED = 4 };

/* glibc's struct dl_find_object, with room for what architectures and versions add. */
typedef struct {
    unsigned long long flags;
    void *map_start, *map_end, *link_map, *eh_frame;
    unsigned long long room[16];
} rt_object_found;
typedef int (*rt_object_finder)(void *address, rt_object_found *found);
static rt_object_finder rt_object_find; /* NULL before rt_unwind_open, or without it in this C library */
static uint32_t rt_unwind_how;          /* RT_UNWIND_* */

/* Once, where nothing is held: dlsym takes the loader's lock. */
static inline void rt_unwind_open(void) {
    rt_object_finder find = (rt_object_finder)dlsym(RTLD_DEFAULT, "_dl_find_object");
    __atomic_store_n(&rt_object_find, find, __ATOMIC_RELEASE);
#if defined(__x86_64__) && !defined(__ILP32__)
    rt_unwind_how = find ? RT_UNWIND_TABLES : RT_UNWIND_NONE;
#elif defined(__aarch64__)
    rt_unwind_how = RT_UNWIND_POINTERS;
#endif
}

/* ---- the stack, read where it is there */
typedef struct {
    uintptr_t low, high;    /* the walk's own frame, and the end of a caller's page: all between is mapped */
    uintptr_t at;
    size_t bytes;
    char data[RT_UNWIND_WINDOW];
} rt_window;

static inline void rt_window_open(rt_window *w, uintptr_t low, uintptr_t high) {
    w->at = w->bytes = 0;
    w->low = low;
    w->high = (high | 4095) + 1;
}

/* (A stack is full of what ASan calls out of bounds.) */
static __attribute__((noinline, no_sanitize("address"))) uint64_t rt_window_own(uintptr_t address) {
    return *(const volatile uint64_t *)address;
}

/* Copy what is there of [address, address + bytes), at most a page; how much that is. A piece for each page: what is there of the
 * first is read although the second is not. */
static inline size_t rt_peek(uintptr_t address, void *to, size_t bytes) {
    size_t first = 4096 - (address & 4095);
    struct iovec here = {to, bytes}, there[2] = {{(void *)address, bytes}, {(void *)(address + first), 0}};
    long n;
    if (first < bytes) {
        there[0].iov_len = first;
        there[1].iov_len = bytes - first;
    }
    n = rt_system_spared(SYS_process_vm_readv, rt_system_spared(SYS_getpid), &here, 1, there, 2, 0);
    return n > 0 ? (size_t)n : 0;
}

static inline int rt_window_read(rt_window *w, uintptr_t address, uint64_t *value) {
    if (address & 7) return 0;
    if (address >= w->low && address + 8 <= w->high) {
        *value = rt_window_own(address);
        return 1;
    }
    if (address < w->at || address + 8 > w->at + w->bytes) {
        w->at = address;
        w->bytes = rt_peek(address, w->data, RT_UNWIND_WINDOW);
        if (w->bytes < 8) return 0;
    }
    memcpy(value, w->data + (address - w->at), 8);
    return 1;
}

#if defined(__x86_64__) && !defined(__ILP32__)
/* ---- .eh_frame (System V ABI for x86-64, and the LSB's "Exception Frames"): what is not understood ends the walk */
enum { RT_DW_RBX = 3, RT_DW_RBP = 6, RT_DW_RSP = 7, RT_DW_RA = 16 };
typedef struct {
    int32_t cfa_register;               /* -1: an expression, which is not followed */
    int64_t cfa_offset;
    uint32_t saved;                     /* bit r: register r lies at CFA + offset[r] */
    uint32_t lost;                      /* bit r: register r cannot be told */
    int64_t offset[RT_UNWIND_REGISTERS];
} rt_row;

static inline uint64_t rt_dw_u(const uint8_t **p) {
    uint64_t value = 0;
    int shift = 0;
    do {
        if (shift < 64) value |= (uint64_t)(**p & 127) << shift;
        shift += 7;
    } while (*(*p)++ & 128);
    return value;
}
static inline int64_t rt_dw_s(const uint8_t **p) {
    int64_t value = 0;
    int shift = 0;
    uint8_t byte;
    do {
        byte = *(*p)++;
        if (shift < 64) value |= (int64_t)(byte & 127) << shift;
        shift += 7;
    } while (byte & 128);
    return shift < 64 && byte & 64 ? value | -((int64_t)1 << shift) : value;
}
static inline uint32_t rt_dw_u4(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, 4);
    return value;
}
/* Bytes of a pointer that is encoded so; 0 for what is not known. */
static inline int rt_dw_bytes(uint8_t encoding) {
    switch (encoding & 15) {
    case 0: case 4: case 12: return 8;
    case 3: case 11: return 4;
    case 2: case 10: return 2;
    }
    return 0;
}

/* Run call frame instructions up to the place `until`, in code bytes from the function's start. 0: not understood. */
static inline int rt_row_run(rt_row *row, const rt_row *first, const uint8_t *p, const uint8_t *end, uint64_t until,
                             uint64_t code_step, int64_t data_step, int encoding) {
    rt_row kept[RT_UNWIND_REMEMBERED];
    int depth = 0;
    uint64_t at = 0, r;
    while (p < end && at <= until) {
        uint8_t op = *p++, low = op & 63;
        if (op >> 6 == 1) { at += low * code_step; continue; }
        if (op >> 6 == 2) { r = low; goto offset; }
        if (op >> 6 == 3) { r = low; goto restore; }
        switch (op) {
        case 0: break;                                                    /* nop */
        case 1: return 0;                                                 /* set_loc */
        case 2: at += *p++ * code_step; break;                            /* advance_loc1, 2, 4 */
        case 3: { uint16_t d; memcpy(&d, p, 2); at += d * code_step; p += 2; break; }
        case 4: at += rt_dw_u4(p) * code_step; p += 4; break;
        case 5: r = rt_dw_u(&p);                                          /* offset_extended */
        offset: {
            int64_t by = (int64_t)rt_dw_u(&p) * data_step;
            if (r < RT_UNWIND_REGISTERS) { row->saved |= 1u << r; row->lost &= ~(1u << r); row->offset[r] = by; }
            break;
        }
        case 6: r = rt_dw_u(&p);                                          /* restore_extended */
        restore:
            if (r < RT_UNWIND_REGISTERS) {
                row->saved = (row->saved & ~(1u << r)) | (first->saved & 1u << r);
                row->lost = (row->lost & ~(1u << r)) | (first->lost & 1u << r);
                row->offset[r] = first->offset[r];
            }
            break;
        case 7: case 8:                                                   /* undefined, same_value */
            r = rt_dw_u(&p);
            if (r < RT_UNWIND_REGISTERS) {
                row->saved &= ~(1u << r);
                row->lost = op == 7 ? row->lost | 1u << r : row->lost & ~(1u << r);
            }
            break;
        case 9: r = rt_dw_u(&p); rt_dw_u(&p); if (r < RT_UNWIND_REGISTERS) row->lost |= 1u << r; break; /* register */
        case 10: if (depth == RT_UNWIND_REMEMBERED) return 0; kept[depth++] = *row; break;
        case 11: if (depth == 0) return 0; *row = kept[--depth]; break;
        case 12: row->cfa_register = (int32_t)rt_dw_u(&p); row->cfa_offset = (int64_t)rt_dw_u(&p); break;
        case 13: row->cfa_register = (int32_t)rt_dw_u(&p); break;
        case 14: row->cfa_offset = (int64_t)rt_dw_u(&p); break;
        case 15: row->cfa_register = -1; r = rt_dw_u(&p); p += r; break;  /* def_cfa_expression */
        case 16: case 22: {                                               /* expression, val_expression */
            uint64_t length;
            r = rt_dw_u(&p); length = rt_dw_u(&p); p += length;
            if (r < RT_UNWIND_REGISTERS) { row->saved &= ~(1u << r); row->lost |= 1u << r; }
            break;
        }
        case 17: r = rt_dw_u(&p);                                         /* offset_extended_sf */
            { int64_t by = rt_dw_s(&p) * data_step;
              if (r < RT_UNWIND_REGISTERS) { row->saved |= 1u << r; row->lost &= ~(1u << r); row->offset[r] = by; } }
            break;
        case 18: row->cfa_register = (int32_t)rt_dw_u(&p); row->cfa_offset = rt_dw_s(&p) * data_step; break;
        case 19: row->cfa_offset = rt_dw_s(&p) * data_step; break;
        case 46: rt_dw_u(&p); break;                                      /* GNU_args_size */
        default: return 0;
        }
    }
    (void)encoding;
    return 1;
}

/* The FDE of an address by the sorted table of .eh_frame_hdr; NULL when there is none. */
static inline const uint8_t *rt_fde_find(uintptr_t pc, uintptr_t *begin) {
    rt_object_finder find = __atomic_load_n(&rt_object_find, __ATOMIC_ACQUIRE);
    rt_object_found found;
    const uint8_t *header, *table;
    uint32_t low = 0, high, middle;
    if (!find || find((void *)pc, &found) != 0 || !found.eh_frame) return NULL;
    header = found.eh_frame;
    /* Version 1, a pointer of 4 bytes, a count of 4, entries of twice 4 bytes from here: what all linkers write. */
    if (header[0] != 1 || rt_dw_bytes(header[1]) != 4 || header[2] != 3 || header[3] != 0x3b) return NULL;
    high = rt_dw_u4(header + 8);
    table = header + 12;
    if (!high || (intptr_t)pc < (intptr_t)header + (int32_t)rt_dw_u4(table)) return NULL;
    while (high - low > 1) {
        middle = low + (high - low) / 2;
        if ((intptr_t)pc < (intptr_t)header + (int32_t)rt_dw_u4(table + 8 * (size_t)middle)) high = middle;
        else low = middle;
    }
    *begin = (uintptr_t)((intptr_t)header + (int32_t)rt_dw_u4(table + 8 * (size_t)low));
    return header + (int32_t)rt_dw_u4(table + 8 * (size_t)low + 4);
}

/* Whether no module has an address: code that the interpreter compiled itself. */
static inline int rt_pc_is_made(uintptr_t pc) {
    rt_object_finder find = __atomic_load_n(&rt_object_find, __ATOMIC_ACQUIRE);
    rt_object_found found;
    return find && find((void *)pc, &found) != 0;
}

/* How the frame of the function at `pc` is laid out. 0: not known. */
static inline int rt_row_find(uintptr_t pc, rt_row *row) {
    uintptr_t begin;
    const uint8_t *fde = rt_fde_find(pc, &begin), *cie, *p, *end, *fde_end;
    const char *augmentation;
    uint64_t code_step, range = 0, length;
    int64_t data_step;
    uint8_t encoding = 0;
    rt_row first;
    if (!fde || rt_dw_u4(fde) == 0xffffffff || !rt_dw_u4(fde)) return 0;
    fde_end = fde + 4 + rt_dw_u4(fde);
    cie = fde + 4 - rt_dw_u4(fde + 4);
    if (rt_dw_u4(cie) == 0xffffffff || rt_dw_u4(cie + 4) != 0 || (cie[8] != 1 && cie[8] != 3)) return 0;
    end = cie + 4 + rt_dw_u4(cie);
    augmentation = (const char *)cie + 9;
    p = cie + 9 + strlen(augmentation) + 1;
    code_step = rt_dw_u(&p);
    data_step = rt_dw_s(&p);
    if (rt_dw_u(&p) != RT_DW_RA || augmentation[0] != 'z') return 0;
    length = rt_dw_u(&p);
    for (const uint8_t *data = p; *++augmentation;) {
        if (*augmentation == 'R') encoding = *data++;
        else if (*augmentation == 'L') data++;
        else if (*augmentation == 'P') { int n = rt_dw_bytes(*data); if (!n) return 0; data += 1 + n; }
        else if (*augmentation != 'B') return 0; /* 'S' too: what a signal interrupted has no call to return to */
    }
    memset(row, 0, sizeof *row);
    memset(&first, 0, sizeof first);
    if (!rt_row_run(&first, &first, p + length, end, UINT64_MAX - 1, code_step, data_step, encoding)) return 0;
    *row = first;
    if (!rt_dw_bytes(encoding)) return 0;
    p = fde + 8 + rt_dw_bytes(encoding);
    memcpy(&range, p, (size_t)rt_dw_bytes(encoding));
    if (pc - begin >= range) return 0;
    p += rt_dw_bytes(encoding);
    length = rt_dw_u(&p);
    return rt_row_run(row, &first, p + length, fde_end, pc - begin, code_step, data_step, encoding);
}

/* Up to `most` return addresses, the innermost first; it ends below the function whose frame holds the address `stop`.
 * `above` lies in a caller's frame. */
static __attribute__((noinline)) uint32_t rt_unwind(uint64_t *pcs, uint32_t most, uintptr_t stop, uintptr_t above) {
    uint64_t reg[RT_UNWIND_REGISTERS] = {0};
    uint32_t count = 0, known = 0xf0c8, r; /* rbx, rbp, rsp, r12 to r15 */
    uint64_t pc, cfa, last = 0;
    rt_window window;
    rt_row row;
    __asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2\n\tmovq %%rbx, %3\n\t"
                     : "=&r"(pc), "=m"(reg[RT_DW_RSP]), "=m"(reg[RT_DW_RBP]), "=m"(reg[RT_DW_RBX]));
    __asm__ volatile("movq %%r12, %0\n\tmovq %%r13, %1\n\tmovq %%r14, %2\n\tmovq %%r15, %3\n\t"
                     : "=m"(reg[12]), "=m"(reg[13]), "=m"(reg[14]), "=m"(reg[15]));
    rt_window_open(&window, reg[RT_DW_RSP], above);
    while (count < most && rt_row_find(pc, &row)) {
        if (row.cfa_register < 0 || row.cfa_register >= RT_DW_RA || !(known >> row.cfa_register & 1)) break;
        cfa = reg[row.cfa_register] + (uint64_t)row.cfa_offset;
        if (cfa <= last || row.lost >> RT_DW_RA & 1 || !(row.saved >> RT_DW_RA & 1)) break;
        if (stop && stop < cfa) return count ? count - 1 : 0;
        for (r = 0; r < RT_UNWIND_REGISTERS; r++)
            if (row.saved >> r & 1) {
                if (rt_window_read(&window, cfa + (uint64_t)row.offset[r], &reg[r])) known |= 1u << r;
                else if (r == RT_DW_RA) return count;
                else known &= ~(1u << r);
            } else if (row.lost >> r & 1) known &= ~(1u << r);
        reg[RT_DW_RSP] = last = cfa;
        if (!reg[RT_DW_RA]) break;
        pc = reg[RT_DW_RA] - 1; /* in the call, not behind it */
        pcs[count++] = pc;
    }
    return count && stop && rt_pc_is_made(pc) ? count - 1 : count;
}
#elif defined(__aarch64__)
static __attribute__((noinline)) uint32_t rt_unwind(uint64_t *pcs, uint32_t most, uintptr_t stop, uintptr_t above) {
    uint64_t frame = (uint64_t)__builtin_frame_address(0), next, pc;
    uint32_t count = 0;
    rt_window window;
    rt_window_open(&window, frame, above);
    while (count < most && rt_window_read(&window, frame, &next) && rt_window_read(&window, frame + 8, &pc)) {
        if (stop && stop < next) return count ? count - 1 : 0;
        pc = (pc & 0x0000ffffffffffff) - 4; /* without a signature, in the call */
        if (!pc || pc + 4 == 0) break;
        pcs[count++] = pc;
        if (next <= frame) break;
        frame = next;
    }
    return count;
}
#else
static inline uint32_t rt_unwind(uint64_t *pcs, uint32_t most, uintptr_t stop, uintptr_t above) {
    (void)pcs; (void)most; (void)stop; (void)above;
    return 0;
}
#endif
#endif
