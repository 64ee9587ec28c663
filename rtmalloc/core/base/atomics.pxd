# Atomic steps on shared words; atomics.h says which order each one has.
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

cdef extern from "base/atomics.h" nogil:
    uint8_t rt_load_relaxed_u8(const uint8_t* p) noexcept
    void rt_store_relaxed_u8(uint8_t* p, uint8_t v) noexcept
    uint8_t rt_load_u8(const uint8_t* p) noexcept
    void rt_store_u8(uint8_t* p, uint8_t v) noexcept

    uint16_t rt_load_relaxed_u16(const uint16_t* p) noexcept
    void rt_store_relaxed_u16(uint16_t* p, uint16_t v) noexcept

    uint32_t rt_load_relaxed_u32(const uint32_t* p) noexcept
    uint32_t rt_load_acquire_u32(const uint32_t* p) noexcept
    uint32_t rt_load_u32(const uint32_t* p) noexcept
    void rt_store_relaxed_u32(uint32_t* p, uint32_t v) noexcept
    void rt_store_release_u32(uint32_t* p, uint32_t v) noexcept
    void rt_store_u32(uint32_t* p, uint32_t v) noexcept
    uint32_t rt_exchange_u32(uint32_t* p, uint32_t v) noexcept
    bint rt_swap_if_u32(uint32_t* p, uint32_t* seen, uint32_t v) noexcept

    uint32_t rt_add_u32(uint32_t* p, uint32_t v) noexcept

    uint64_t rt_load_relaxed_u64(const uint64_t* p) noexcept
    uint64_t rt_load_operand_u64(const uint64_t* p) noexcept
    uint64_t rt_load_acquire_u64(const uint64_t* p) noexcept
    uint64_t rt_load_u64(const uint64_t* p) noexcept
    void rt_store_relaxed_u64(uint64_t* p, uint64_t v) noexcept
    void rt_store_release_u64(uint64_t* p, uint64_t v) noexcept
    uint64_t rt_exchange_u64(uint64_t* p, uint64_t v) noexcept
    bint rt_swap_if_u64(uint64_t* p, uint64_t* seen, uint64_t v) noexcept
    uint64_t rt_or_u64(uint64_t* p, uint64_t v) noexcept
    uint64_t rt_and_u64(uint64_t* p, uint64_t v) noexcept
    uint64_t rt_add_u64(uint64_t* p, uint64_t v) noexcept

    void* rt_load_acquire_pointer(void** p) noexcept
    void rt_store_pointer(void** p, void* v) noexcept
    void rt_store_release_pointer(void** p, void* v) noexcept
    bint rt_swap_if_pointer(void** p, void** seen, void* v) noexcept

    void rt_compiler_barrier() noexcept
