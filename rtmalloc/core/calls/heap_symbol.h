/* Whose an instruction is, without the loader's lock: for the background thread, which the C library may not know.
 * Who maps an address _dl_find_object tells, and its symbol the module's own table. Modules may be unloaded meanwhile, as behind
 * dladdr. */
#ifndef RT_HEAP_SYMBOL_H
#define RT_HEAP_SYMBOL_H
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include "base/system.h"
#include "base/unwind.h"
typedef struct {
    const ElfW(Sym) *all;
    const char *names;
    const uint32_t *hash, *gnu_hash; /* one of them tells how many there are */
} rt_symbols;

static inline uint32_t rt_symbols_count(const rt_symbols *s) {
    uint32_t buckets, first, last = 0, i;
    const uint32_t *bucket;
    if (s->hash) return s->hash[1];
    if (!s->gnu_hash) return 0;
    buckets = s->gnu_hash[0], first = s->gnu_hash[1];
    bucket = s->gnu_hash + 4 + s->gnu_hash[2] * (sizeof(ElfW(Addr)) / 4);
    for (i = 0; i < buckets; i++) last = bucket[i] > last ? bucket[i] : last;
    if (last < first) return first;
    while (!(bucket[buckets + last - first] & 1)) last++; /* the last of a chain is odd */
    return last + 1;
}

static inline rt_symbols rt_symbols_of(const struct link_map *module) {
    rt_symbols s = {0};
    const ElfW(Dyn) *d;
    for (d = module->l_ld; d && d->d_tag != DT_NULL; d++) {
        /* The loader has made addresses of distances, but for the kernel's module. */
        uintptr_t there = d->d_un.d_ptr < module->l_addr ? d->d_un.d_ptr + module->l_addr : d->d_un.d_ptr;
        if (d->d_tag == DT_SYMTAB) s.all = (const ElfW(Sym) *)there;
        if (d->d_tag == DT_STRTAB) s.names = (const char *)there;
        if (d->d_tag == DT_HASH) s.hash = (const uint32_t *)there;
        if (d->d_tag == DT_GNU_HASH) s.gnu_hash = (const uint32_t *)there;
    }
    return s;
}

/* The name of the symbol that `offset` from the module's load address lies in, "" when it lies in none that is known. */
static inline const char *rt_symbols_name(const rt_symbols *s, uint64_t offset) {
    const ElfW(Sym) *best = NULL, *one;
    uint32_t i, count = s->all && s->names ? rt_symbols_count(s) : 0;
    for (i = 0; i < count; i++) {
        one = &s->all[i];
        if (one->st_shndx == SHN_UNDEF || one->st_value == 0 || ELF64_ST_TYPE(one->st_info) == STT_TLS) continue;
        if (one->st_value > offset || (one->st_size && offset >= one->st_value + one->st_size)) continue;
        if (!best || one->st_value > best->st_value) best = one;
    }
    return best ? s->names + best->st_name : "";
}

/* The program's own file, which the loader calls "". */
static inline const char *rt_heap_program(void) {
    static char path[1024];
    if (!*path) rt_system(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path - 1);
    return path;
}

/* The file, the symbol, and the distance from the file's first byte in memory. */
static inline uint64_t rt_heap_symbol(uint64_t address, const char **file, const char **symbol) {
    rt_object_found found;
    rt_object_finder find = __atomic_load_n(&rt_object_find, __ATOMIC_ACQUIRE);
    const struct link_map *module;
    rt_symbols symbols;
    *file = *symbol = "";
    if (!find || find((void *)(uintptr_t)address, &found) != 0) return address;
    module = (const struct link_map *)found.link_map;
    symbols = rt_symbols_of(module);
    *file = module->l_name && *module->l_name ? module->l_name : rt_heap_program();
    *symbol = rt_symbols_name(&symbols, address - module->l_addr);
    return address - (uint64_t)(uintptr_t)found.map_start;
}
#endif
