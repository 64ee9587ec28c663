// The operators of C++: every form, the new-handler, and a program that replaces the plain forms (-DREPLACED).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#define CHECK(c) ((c) ? (void)0 : (printf("line %d: %s\n", __LINE__, #c), exit(1)))
static int calls, live;
#ifdef REPLACED
static const char MARK[16] = "of the program";
void *operator new(std::size_t n) {
    char *p = (char *)malloc(n + 32);
    if (!p) throw std::bad_alloc();
    memcpy(p, MARK, sizeof MARK);
    live++;
    return p + 32;
}
void operator delete(void *p) noexcept {
    if (!p) return;
    CHECK(memcmp((char *)p - 32, MARK, sizeof MARK) == 0);
    live--;
    free((char *)p - 32);
}
#endif

struct Base { virtual ~Base() {} long a[5]; };
struct Derived : Base { long b[20]; };
struct alignas(64) Wide { char c[64]; };
static void tired() { if (++calls == 3) std::set_new_handler(nullptr); }
static void throwing() { calls++; throw std::bad_alloc(); }

template <class F> static void refuses(F f) {
    calls = 0;
    std::set_new_handler(tired);
    try { f(); CHECK(!"memory came"); } catch (const std::bad_alloc &) { CHECK(calls == 3); }
}

int main() {
    const std::size_t huge = (std::size_t)1 << 61;
    const std::align_val_t wide = std::align_val_t(256);
    for (std::size_t n = 0; n < 200000; n = n * 2 + 1) {
        operator delete(operator new(n));
        operator delete(operator new(n), n);
        operator delete(operator new(n), std::nothrow);
        operator delete(operator new(n, std::nothrow));
        operator delete[](operator new[](n));
        operator delete[](operator new[](n), n);
        operator delete[](operator new[](n, std::nothrow), std::nothrow);
        void *p = operator new(n, wide);
        CHECK((std::size_t)p % 256 == 0);
        operator delete(p, wide);
        operator delete(operator new(n, wide, std::nothrow), n, wide);
        operator delete[](operator new[](n, wide), wide);
        operator delete[](operator new[](n, wide, std::nothrow), n, wide);
        operator delete[](operator new[](n, wide), wide, std::nothrow);
        operator delete(operator new(n, wide), wide, std::nothrow);
    }
    Base *b = new Derived;
    delete b;
    Wide *w = new Wide[10];
    CHECK((std::size_t)w % 64 == 0);
    delete[] w;
    delete[] new int[10];
    refuses([=] { operator new(huge, wide); });
    refuses([=] { operator new[](huge, wide); });
#ifndef REPLACED
    refuses([=] { operator new(huge); });
    refuses([=] { operator new[](huge); });
#endif
    std::set_new_handler(throwing);
    CHECK(operator new(huge, std::nothrow) == nullptr && operator new[](huge, std::nothrow) == nullptr);
    CHECK(operator new(huge, wide, std::nothrow) == nullptr && operator new[](huge, wide, std::nothrow) == nullptr);
    CHECK(calls >= 2 && live == 0);
    puts("fine");
}
