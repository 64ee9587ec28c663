# The operating system: the names of the calls in platform.h.
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "base/platform.h" nogil:
    void* rt_os_map(size_t bytes) noexcept
    void* rt_os_reserve_zeros(size_t bytes) noexcept
    int rt_os_open(void* p, size_t bytes) noexcept
    enum:
        RT_OS_MAPPED
        RT_OS_OCCUPIED
        RT_OS_REFUSED
    int rt_os_map_at(void* where, size_t bytes) noexcept
    int rt_os_renew(void* p, size_t bytes) noexcept
    int rt_os_release(void* p, size_t bytes) noexcept
    void rt_os_unmap(void* p, size_t bytes) noexcept
    enum:
        RT_GUARDED
    void rt_guard_open(void* p, size_t bytes) noexcept
    int rt_os_discard(void* p, size_t bytes) noexcept
    void rt_os_clear(char* p, size_t bytes, size_t page) noexcept
    int rt_os_madvise(void* p, size_t bytes, int advice) noexcept
    int rt_os_mprotect(void* p, size_t bytes, int access) noexcept
    int rt_os_mlock(const void* p, size_t bytes) noexcept
    int rt_os_mlock2(const void* p, size_t bytes, unsigned int flags) noexcept
    long rt_os_mbind(void* p, unsigned long bytes, int how, const unsigned long* nodes, unsigned long most, unsigned int flags) noexcept
    int rt_os_discard_lazily(void* p, size_t bytes) noexcept
    void rt_os_huge_pages(void* p, size_t bytes, bint wanted) noexcept
    void rt_os_split_huge(void* p) noexcept
    void rt_os_populate(void* p, size_t bytes) noexcept
    void* rt_os_remap(void* p, size_t old_bytes, size_t new_bytes) noexcept
    void* rt_os_move_pages(void* p, size_t bytes) noexcept
    int rt_os_move_back(void* q, size_t mapped, void* home, size_t bytes) noexcept
    size_t rt_os_resident(char* p, size_t bytes, size_t page) noexcept
    size_t rt_os_page_size() noexcept
    size_t rt_os_address_end() noexcept
    uint64_t rt_os_private_bytes(size_t page) noexcept
    uint64_t rt_os_clock_ms() noexcept
    uint64_t rt_os_clock_us() noexcept
    uint64_t rt_os_thread_us() noexcept
    uint64_t rt_os_random() noexcept
    uint32_t rt_os_thread_id() noexcept
    void rt_thread_is_first() noexcept
    bint rt_os_thread_is_gone(uint32_t id) noexcept
    void rt_os_futex_wait_ms(uint32_t* word, uint32_t seen, uint64_t ms) noexcept
    void rt_os_futex_wake(uint32_t* word, int count) noexcept
    void rt_os_yield() noexcept
    int rt_os_sequences_prepare() noexcept
    int rt_os_sequences_abort(uint32_t cpu) noexcept
    void rt_cpu_relax() noexcept
    uint32_t rt_os_cpu() noexcept
    uint32_t rt_os_cpus() noexcept
    int64_t rt_os_read_file(const char* name, char* text, size_t room) noexcept
    int rt_os_new_file(const char* directory, const char* name) noexcept
    int rt_os_append(int file, const char* text, size_t length) noexcept
    void rt_os_close(int file) noexcept
    uint32_t rt_os_process_id() noexcept
    uint64_t rt_os_wall_ms() noexcept
    void rt_os_complain(const char* text, size_t length) noexcept
    void rt_set_errno(int value) noexcept
    int rt_get_errno() noexcept
    void abort() noexcept
    enum:
        ENOMEM
        EINVAL
