/* Whose an instruction is, without the loader's lock: for the background thread, which the C library may not know.
 * Who maps an address _dl_find_object tells, and its symbol the module's own table. The module may be unloaded meanwhile, so
 * all of it is read by process_vm_readv, which answers where memory is not there. */
#ifndef RT_HEAP_SYMBOL_H
#define RT_HEAP_SYMBOL_H
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include "base/system.h"
#include "base/unwind.h"
enum { RT_SYMBOL_DYNAMIC = 64, RT_SYMBOL_PIECE = 128, RT_SYMBOL_NAME = 256 };
typedef struct {
    uint64_t offset; /* from the module's first byte in memory */
    char file[RT_SYMBOL_NAME], name[RT_SYMBOL_NAME];
} rt_symbol;

/* A string of the module's, cut where the room or the memory ends. */
static inline void rt_symbol_text(uint64_t address, char *to) {
    to[rt_peek(address, to, RT_SYMBOL_NAME - 1)] = 0;
}

/* The symbol that `offset` from the load address lies in: the last one at or below it. Linkers put the table of names behind
 * that of symbols, which therefore ends there. */
static inline void rt_symbol_find(uint64_t symbols, uint64_t names, uint64_t offset, char *name) {
    ElfW(Sym) piece[RT_SYMBOL_PIECE];
    uint64_t best = 0, at = 0;
    size_t count, i;
    for (; symbols < names; symbols += count * sizeof *piece) {
        count = rt_peek(symbols, piece, sizeof piece) / sizeof *piece;
        if (!count) break;
        for (i = 0; i < count && symbols + (i + 1) * sizeof *piece <= names; i++) {
            const ElfW(Sym) *s = &piece[i];
            if (s->st_shndx == SHN_UNDEF || s->st_value <= best || ELF64_ST_TYPE(s->st_info) == STT_TLS) continue;
            if (s->st_value > offset || (s->st_size && offset >= s->st_value + s->st_size)) continue;
            best = s->st_value, at = names + s->st_name;
        }
    }
    if (best) rt_symbol_text(at, name);
}

static inline void rt_symbol_in(const struct link_map *module, uint64_t address, char *name) {
    ElfW(Dyn) dynamic[RT_SYMBOL_DYNAMIC];
    size_t count = rt_peek((uintptr_t)module->l_ld, dynamic, sizeof dynamic) / sizeof *dynamic, i;
    uint64_t symbols = 0, names = 0, there;
    for (i = 0; i < count && dynamic[i].d_tag != DT_NULL; i++) {
        /* The loader has made addresses of distances, but for the kernel's module. */
        there = dynamic[i].d_un.d_ptr < module->l_addr ? dynamic[i].d_un.d_ptr + module->l_addr : dynamic[i].d_un.d_ptr;
        if (dynamic[i].d_tag == DT_SYMTAB) symbols = there;
        if (dynamic[i].d_tag == DT_STRTAB) names = there;
    }
    if (symbols && names) rt_symbol_find(symbols, names, address - module->l_addr, name);
}

static inline void rt_heap_symbol(uint64_t address, rt_symbol *symbol) {
    rt_object_found found;
    rt_object_finder find = __atomic_load_n(&rt_object_find, __ATOMIC_ACQUIRE);
    struct link_map module;
    symbol->offset = address;
    symbol->file[0] = symbol->name[0] = 0;
    if (!find || find((void *)(uintptr_t)address, &found) != 0) return;
    if (rt_peek((uintptr_t)found.link_map, &module, sizeof module) != sizeof module) return;
    symbol->offset = address - (uint64_t)(uintptr_t)found.map_start;
    rt_symbol_in(&module, address, symbol->name);
    rt_symbol_text((uint64_t)(uintptr_t)module.l_name, symbol->file);
    if (!symbol->file[0]) { /* the program's own */
        long n = rt_system(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", symbol->file, RT_SYMBOL_NAME - 1);
        symbol->file[n > 0 ? n : 0] = 0;
    }
}
#endif
