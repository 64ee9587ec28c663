# A map from addresses to values for what lies outside the arena: three levels of 4096 entries.
# Look-ups take no lock and touch only the map, so any pointer may be asked about. Nodes are never freed.
from libc.stdint cimport uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_exchange_u64, rt_load_acquire_pointer, rt_load_acquire_u64, rt_swap_if_pointer,
)
from rtmalloc.core.base.platform cimport rt_os_map, rt_os_unmap
from rtmalloc.core.types cimport RadixMap

cdef enum:
    RADIX_BITS = 12            # per level: 3 * 12 + 12 bits of page offset = 48-bit addresses
    RADIX_FAN = 4096
    RADIX_PAGE_SHIFT = 12


cdef inline void* radix_node(void** place, bint create) noexcept nogil:
    # The node that *place points to; made if it is missing and `create`.
    cdef void* node = rt_load_acquire_pointer(place)
    cdef void* seen = NULL
    if node == NULL and create:
        node = rt_os_map(RADIX_FAN * sizeof(void*))
        if node != NULL and not rt_swap_if_pointer(place, &seen, node):
            rt_os_unmap(node, RADIX_FAN * sizeof(void*))
            node = seen
    return node


cdef inline uint64_t* radix_place(RadixMap* map, const void* p, bint create) noexcept nogil:
    # Where the value of the page of `p` stands; NULL when there is no such place (or no memory to make it).
    cdef uint64_t page = <uint64_t><size_t>p >> RADIX_PAGE_SHIFT
    cdef void* node
    if page >> (3 * RADIX_BITS):
        return NULL
    node = radix_node(&map.root, create)
    if node != NULL:
        node = radix_node(&(<void**>node)[page >> (2 * RADIX_BITS)], create)
    if node != NULL:
        node = radix_node(&(<void**>node)[(page >> RADIX_BITS) & (RADIX_FAN - 1)], create)
    if node == NULL:
        return NULL
    return &(<uint64_t*>node)[page & (RADIX_FAN - 1)]


cdef inline uint64_t radix_get(RadixMap* map, const void* p) noexcept nogil:
    # The value of the page of `p`, 0 for none.
    cdef uint64_t* place = radix_place(map, p, False)
    return rt_load_acquire_u64(place) if place != NULL else 0


cdef inline uint64_t radix_take(RadixMap* map, const void* p) noexcept nogil:
    # Remove and return the value of the page of `p`: of two callers one gets it, the other 0.
    cdef uint64_t* place = radix_place(map, p, False)
    return rt_exchange_u64(place, 0) if place != NULL else 0


cdef inline bint radix_set(RadixMap* map, const void* p, uint64_t value) noexcept nogil:
    # Set the value of the page of `p`; False when there is no memory for it.
    cdef uint64_t* place = radix_place(map, p, True)
    if place == NULL:
        return False
    rt_exchange_u64(place, value)
    return True
