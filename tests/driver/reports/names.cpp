// Public reports about names under other allocators, each as a small program: `names NAME`. tests/core/test_reports.py has the table
// of names and addresses.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <new>
#include <string>
#include <unistd.h>
#include <wchar.h>

#define CHECK(condition) ((condition) ? (void)0 : (fprintf(stderr, "line %d: %s\n", __LINE__, #condition), abort()))
extern "C" {
void *__libc_malloc(size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
void __libc_free(void *);
}
template <class Call> static Call named(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    CHECK(found);
    return (Call)found;
}

static void inner_names_of_libc() {
    void *p = __libc_malloc(100);
    free(realloc(p, 10000));
    __libc_free(aligned_alloc(64, 128));
    free(__libc_realloc(malloc(10), 5000));
    free(__libc_memalign(4096, 10));
}
static void names_of_other_systems() {
    void *p = malloc(10);
    CHECK(named<int (*)(void *, size_t, size_t)>("reallocarr")(&p, 100, 10) == 0);
    named<void (*)(void *)>("vfree")(p);
    CHECK(named<size_t (*)(size_t)>("malloc_good_size")(100) >= 100);
}
static void nothrow_delete() {
    for (size_t bytes : {1, 100, 5000, 3000000}) {
        ::operator delete(::operator new(bytes, std::nothrow), std::nothrow);
        ::operator delete[](::operator new[](bytes, std::nothrow), std::nothrow);
        ::operator delete(::operator new(bytes, std::align_val_t(64), std::nothrow), std::align_val_t(64), std::nothrow);
    }
}
struct alignas(64) Wide { char data[56]; };
static void over_aligned() {
    for (int i = 0; i < 1000; i++) {
        Wide *one = new Wide, *many = new Wide[3];
        CHECK(((size_t)one & 63) == 0 && ((size_t)many & 63) == 0);
        delete one;
        delete[] many;
    }
}
struct Entry { long key; };
static void size_is_not_the_blocks() { // an object with more room behind it: delete is told the object's size only
    void *kept[100];
    for (size_t more : {0, 100, 3000, 100000, 5000000}) {
        for (void *&p : kept) p = new (::operator new(sizeof(Entry) + more)) Entry;
        for (void *p : kept) delete (Entry *)p;
        for (void *&p : kept) memset(p = malloc(sizeof(Entry) + more), 1, sizeof(Entry) + more);
        for (void *p : kept) free(p);
    }
}
static void sized_family() { // 56 bytes of an alignment: another class than without
    auto free_sized = named<void (*)(void *, size_t, int)>("sdallocx");
    auto take = named<void *(*)(size_t, int)>("mallocx");
    for (int log = 0; log < 8; log++) free_sized(take(56, log), 56, log);
    for (int i = 0; i < 100; i++) free_sized(malloc(56), 56, 0);
}
static void module_hands_out() { // a library that was not there at the start makes what the program frees
    void *library = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    void *math = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    CHECK(math);
    free(((char *(*)(const char *))dlsym(library, "strdup"))("a text"));
    dlclose(library);
}
static void libc_hands_out() {
    char *text = nullptr;
    size_t room = 0;
    dirent **list = nullptr;
    free(strdup("text"));
    free(wcsdup(L"text"));
    free(strndup("text", 2));
    CHECK(asprintf(&text, "%d", 5) == 1);
    free(text);
    free(realpath("/proc/self/..", nullptr));
    free(getcwd(nullptr, 0));
    text = nullptr;
    FILE *file = open_memstream(&text, &room);
    for (int i = 0; i < 10000; i++) fprintf(file, "line %d\n", i);
    fclose(file);
    file = fmemopen(text, room, "r");
    char *line = nullptr;
    size_t length = 0;
    CHECK(getdelim(&line, &length, 0, file) > 10000);
    fclose(file);
    free(line);
    free(text);
    int count = scandir("/etc", &list, nullptr, alphasort);
    CHECK(count > 0);
    while (count--) free(list[count]);
    free(list);
}
static void refused_arguments() {
    void *before = &before, *p = before;
    CHECK(posix_memalign(&p, 3, 8) == EINVAL && p == before);
    volatile size_t much = (size_t)-1 / 2, three = 48;
    errno = 0;
    CHECK(reallocarray(nullptr, much, 3) == nullptr && errno == ENOMEM);
    p = pvalloc(0);
    CHECK(p);
    free(p);
    free(aligned_alloc(three - 16, 100)); // a size that is no multiple of the alignment
    CHECK(malloc_usable_size(nullptr) == 0);
}
static void usable_is_usable() {
    for (size_t bytes : {1, 24, 100, 1000, 5000, 40000, 300000}) {
        char *p = (char *)malloc(bytes), *neighbour = (char *)malloc(bytes);
        memset(neighbour, 3, bytes);
        memset(p, 1, malloc_usable_size(p));
        p = (char *)realloc(p, 3 * bytes);
        for (size_t i = 0; i < bytes; i++) CHECK(p[i] == 1 && neighbour[i] == 3);
        free(p);
        free(neighbour);
    }
}
static void aligned_is_resized() {
    for (size_t alignment : {64, 4096, 65536}) {
        char *p = (char *)memalign(alignment, 4096);
        memset(p, 1, 4096);
        p = (char *)realloc(p, 16384);
        for (int i = 0; i < 4096; i++) CHECK(p[i] == 1);
        memset(p, 2, 16384);
        free(p);
    }
}
static const struct { const char *name; void (*run)(); } cases[] = {
    {"inner_names_of_libc", inner_names_of_libc}, {"names_of_other_systems", names_of_other_systems},
    {"nothrow_delete", nothrow_delete}, {"over_aligned", over_aligned}, {"size_is_not_the_blocks", size_is_not_the_blocks},
    {"sized_family", sized_family}, {"module_hands_out", module_hands_out}, {"libc_hands_out", libc_hands_out},
    {"refused_arguments", refused_arguments}, {"usable_is_usable", usable_is_usable},
    {"aligned_is_resized", aligned_is_resized},
};
int main(int count, char **words) {
    for (auto &one : cases)
        if (count == 2 && strcmp(one.name, words[1]) == 0) {
            one.run();
            return puts("fine") < 0;
        }
    return 2;
}
