# CPython's allocator hooks: PyMem_SetAllocator for the domains RAW, MEM and OBJ.
#
# Set before the interpreter starts, they serve every byte. Installed later they wrap what was there before: a pointer
# that is not ours goes back to the allocator it came from, so nothing that was allocated earlier is lost. They call
# nothing of Python (RAW is used without the GIL), ignore their context pointer (CPython reads function and context
# separately), and what they forward to is written once, before the hook is set, and never changed. For the same reason
# there is no way back: blocks of ours live on. Pausing sends new requests to the previous allocator.
#
# A profiler that counts calls of malloc and free sees nothing of these hooks, for they are malloc's own code. Once one is
# noticed the domains pass by the names that it has taken: another set of hooks, for good. Either set takes any block.
from libc.stdint cimport uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base.atomics cimport (
    rt_load_relaxed_u32, rt_load_relaxed_u64, rt_store_relaxed_u32, rt_store_relaxed_u64,
)
from rtmalloc.core.base.attributes cimport (
    cold_int, cold_void, fast_pointer, fast_void, inlined_pointer, inlined_void, slow_pointer, slow_void,
)
from rtmalloc.core.base.size_class cimport RT_MAX_SMALL
from rtmalloc.core.calls.calloc cimport rt_calloc
from rtmalloc.core.calls.front cimport front_free, front_malloc, rt_malloc
from rtmalloc.core.calls.giant cimport giant_bytes, giant_give
from rtmalloc.core.calls.realloc cimport realloc_inside, realloc_nonzero
from rtmalloc.core.heaps.instance cimport allocator
from rtmalloc.core.pages.tag cimport tag_find_inside
from rtmalloc.core.profile.heap_profile cimport heap_profile_forget

cdef extern from "calls/hooks.h" nogil:
    enum:
        RT_DOMAINS
    ctypedef struct rt_python_allocator:
        void* ctx
        void* (*malloc)(void* ctx, size_t size) noexcept nogil
        void* (*calloc)(void* ctx, size_t count, size_t size) noexcept nogil
        void* (*realloc)(void* ctx, void* p, size_t size) noexcept nogil
        void (*free)(void* ctx, void* p) noexcept nogil
    ctypedef void (*rt_python_exchange)(int domain, rt_python_allocator* allocator) noexcept nogil
    rt_python_allocator rt_previous[]
    uint32_t rt_hooked
    uint32_t rt_paused
    uint64_t rt_hook_small
    uint32_t rt_passing
    void* rt_seen_malloc(size_t bytes) noexcept
    void* rt_seen_calloc(size_t count, size_t bytes) noexcept
    void* rt_seen_realloc(void* p, size_t bytes) noexcept
    void rt_seen_free(void* p) noexcept
    bint rt_malloc_is_seen(void* (*own)(size_t bytes) noexcept nogil) noexcept
    bint rt_is_image(const void* p) noexcept
    rt_python_exchange rt_python_get() noexcept
    rt_python_exchange rt_python_set() noexcept
    bint rt_python_is_up() noexcept
    bint rt_python_is_free_threaded() noexcept

cdef enum:
    DOMAIN_RAW = 0
    DOMAIN_MEM = 1
    DOMAIN_OBJ = 2
    DOMAINS_ALL = 7            # as a set of bits


# ---- what the domains have in common. The fast paths are malloc's and free's own, not a call more: pausing is folded
# into the test for large blocks, and a pointer that is not ours lies outside of the arena, as few others do.

cdef inline inlined_pointer hook_malloc(int domain, size_t bytes) noexcept nogil:
    if unlikely(bytes > rt_load_relaxed_u64(&rt_hook_small)):
        return hook_malloc_slow(domain, bytes)
    return front_malloc(bytes)


cdef inline slow_pointer hook_malloc_slow(int domain, size_t bytes) noexcept nogil:
    if unlikely(rt_load_relaxed_u32(&rt_paused)):
        return rt_previous[domain].malloc(rt_previous[domain].ctx, bytes)
    return rt_malloc(bytes)


cdef inline void* hook_calloc(int domain, size_t count, size_t bytes) noexcept nogil:
    if unlikely(rt_load_relaxed_u32(&rt_paused)):
        return rt_previous[domain].calloc(rt_previous[domain].ctx, count, bytes)
    return rt_calloc(count, bytes)


cdef inline inlined_pointer hook_realloc(int domain, void* p, size_t bytes) noexcept nogil:
    cdef uint32_t tag
    if unlikely(not tag_find_inside(&allocator().arena, p, &tag)):
        # Lists, for one, get their first storage by realloc(NULL).
        return hook_realloc_outside(domain, p, bytes) if p != NULL else hook_malloc(domain, bytes)
    return realloc_inside(tag, p, bytes)


cdef inline slow_pointer hook_realloc_outside(int domain, void* p, size_t bytes) noexcept nogil:
    # A foreign block stays with its allocator: only that one knows its size.
    if giant_bytes(allocator(), p) == 0:
        return rt_previous[domain].realloc(rt_previous[domain].ctx, p, bytes)
    return realloc_nonzero(p, bytes)


cdef inline inlined_void hook_free(int domain, void* p) noexcept nogil:
    cdef uint32_t tag
    if unlikely(not tag_find_inside(&allocator().arena, p, &tag)):
        hook_free_outside(domain, p)
        return
    front_free(tag, p)


cdef inline slow_void hook_free_outside(int domain, void* p) noexcept nogil:
    heap_profile_forget(allocator(), p)
    if p != NULL and not giant_give(allocator(), p):
        rt_previous[domain].free(rt_previous[domain].ctx, p)


# ---- the same by the names that the process sees

cdef inline bint hook_is_ours(void* p) noexcept nogil:
    cdef uint32_t tag
    return tag_find_inside(&allocator().arena, p, &tag) or giant_bytes(allocator(), p) != 0


cdef inline slow_pointer pass_malloc(int domain, size_t bytes) noexcept nogil:
    if unlikely(rt_load_relaxed_u32(&rt_paused)):
        return rt_previous[domain].malloc(rt_previous[domain].ctx, bytes)
    return rt_seen_malloc(bytes)


cdef inline slow_pointer pass_calloc(int domain, size_t count, size_t bytes) noexcept nogil:
    if unlikely(rt_load_relaxed_u32(&rt_paused)):
        return rt_previous[domain].calloc(rt_previous[domain].ctx, count, bytes)
    return rt_seen_calloc(count, bytes)


cdef inline slow_pointer pass_realloc(int domain, void* p, size_t bytes) noexcept nogil:
    if p == NULL:
        return pass_malloc(domain, bytes)
    if hook_is_ours(p):
        return rt_seen_realloc(p, bytes if bytes else 1)
    return rt_previous[domain].realloc(rt_previous[domain].ctx, p, bytes)


cdef inline slow_void pass_free(int domain, void* p) noexcept nogil:
    if p != NULL and hook_is_ours(p):
        rt_seen_free(p)
    elif p != NULL:
        rt_previous[domain].free(rt_previous[domain].ctx, p)


# One set per domain, twice: the domain must not come from the context pointer.

cdef inline fast_pointer raw_malloc(void* ctx, size_t bytes) noexcept nogil:
    return hook_malloc(DOMAIN_RAW, bytes)

cdef inline void* raw_calloc(void* ctx, size_t count, size_t bytes) noexcept nogil:
    return hook_calloc(DOMAIN_RAW, count, bytes)

cdef inline void* raw_realloc(void* ctx, void* p, size_t bytes) noexcept nogil:
    return hook_realloc(DOMAIN_RAW, p, bytes)

cdef inline fast_void raw_free(void* ctx, void* p) noexcept nogil:
    hook_free(DOMAIN_RAW, p)

cdef inline fast_pointer mem_malloc(void* ctx, size_t bytes) noexcept nogil:
    return hook_malloc(DOMAIN_MEM, bytes)

cdef inline void* mem_calloc(void* ctx, size_t count, size_t bytes) noexcept nogil:
    return hook_calloc(DOMAIN_MEM, count, bytes)

cdef inline void* mem_realloc(void* ctx, void* p, size_t bytes) noexcept nogil:
    return hook_realloc(DOMAIN_MEM, p, bytes)

cdef inline fast_void mem_free(void* ctx, void* p) noexcept nogil:
    hook_free(DOMAIN_MEM, p)

cdef inline fast_pointer obj_malloc(void* ctx, size_t bytes) noexcept nogil:
    return hook_malloc(DOMAIN_OBJ, bytes)

cdef inline void* obj_calloc(void* ctx, size_t count, size_t bytes) noexcept nogil:
    return hook_calloc(DOMAIN_OBJ, count, bytes)

cdef inline void* obj_realloc(void* ctx, void* p, size_t bytes) noexcept nogil:
    return hook_realloc(DOMAIN_OBJ, p, bytes)

cdef inline fast_void obj_free(void* ctx, void* p) noexcept nogil:
    hook_free(DOMAIN_OBJ, p)

cdef inline void* raw_pass_malloc(void* ctx, size_t bytes) noexcept nogil:
    return pass_malloc(DOMAIN_RAW, bytes)

cdef inline void* raw_pass_calloc(void* ctx, size_t count, size_t bytes) noexcept nogil:
    return pass_calloc(DOMAIN_RAW, count, bytes)

cdef inline void* raw_pass_realloc(void* ctx, void* p, size_t bytes) noexcept nogil:
    return pass_realloc(DOMAIN_RAW, p, bytes)

cdef inline void raw_pass_free(void* ctx, void* p) noexcept nogil:
    pass_free(DOMAIN_RAW, p)

cdef inline void* mem_pass_malloc(void* ctx, size_t bytes) noexcept nogil:
    return pass_malloc(DOMAIN_MEM, bytes)

cdef inline void* mem_pass_calloc(void* ctx, size_t count, size_t bytes) noexcept nogil:
    return pass_calloc(DOMAIN_MEM, count, bytes)

cdef inline void* mem_pass_realloc(void* ctx, void* p, size_t bytes) noexcept nogil:
    return pass_realloc(DOMAIN_MEM, p, bytes)

cdef inline void mem_pass_free(void* ctx, void* p) noexcept nogil:
    pass_free(DOMAIN_MEM, p)

cdef inline void* obj_pass_malloc(void* ctx, size_t bytes) noexcept nogil:
    return pass_malloc(DOMAIN_OBJ, bytes)

cdef inline void* obj_pass_calloc(void* ctx, size_t count, size_t bytes) noexcept nogil:
    return pass_calloc(DOMAIN_OBJ, count, bytes)

cdef inline void* obj_pass_realloc(void* ctx, void* p, size_t bytes) noexcept nogil:
    return pass_realloc(DOMAIN_OBJ, p, bytes)

cdef inline void obj_pass_free(void* ctx, void* p) noexcept nogil:
    pass_free(DOMAIN_OBJ, p)


cdef inline void hook_table(int domain, bint passing, rt_python_allocator* hook) noexcept nogil:
    hook.ctx = NULL
    if domain == DOMAIN_RAW:
        hook.malloc = raw_pass_malloc if passing else raw_malloc
        hook.calloc = raw_pass_calloc if passing else raw_calloc
        hook.realloc = raw_pass_realloc if passing else raw_realloc
        hook.free = raw_pass_free if passing else raw_free
    elif domain == DOMAIN_MEM:
        hook.malloc = mem_pass_malloc if passing else mem_malloc
        hook.calloc = mem_pass_calloc if passing else mem_calloc
        hook.realloc = mem_pass_realloc if passing else mem_realloc
        hook.free = mem_pass_free if passing else mem_free
    else:
        hook.malloc = obj_pass_malloc if passing else obj_malloc
        hook.calloc = obj_pass_calloc if passing else obj_calloc
        hook.realloc = obj_pass_realloc if passing else obj_realloc
        hook.free = obj_pass_free if passing else obj_free


cdef inline bint hook_is_set(int domain, bint passing, rt_python_exchange get) noexcept nogil:
    # Whether the domain's calls arrive at this set of hooks now.
    cdef rt_python_allocator now
    cdef rt_python_allocator hook
    get(domain, &now)
    hook_table(domain, passing, &hook)
    return now.malloc == hook.malloc and now.free == hook.free


cdef inline cold_void hooks_pass() noexcept nogil:
    # A profiler is at work: from now on the domains pass by the names. A domain whose hooks somebody else has replaced stays
    # as it is: he sees its calls himself, or they do not arrive here.
    global rt_passing
    cdef rt_python_exchange get = rt_python_get()
    cdef rt_python_exchange put = rt_python_set()
    cdef rt_python_allocator hook
    cdef int d
    rt_store_relaxed_u32(&rt_passing, 1)
    for d in range(RT_DOMAINS if get != NULL and put != NULL else 0):
        if hook_is_set(d, False, get):
            hook_table(d, True, &hook)
            put(d, &hook)


cdef inline void hooks_look() noexcept nogil:
    # Before hooks are set: does somebody stand in front of us who passes on to us? (Another allocator there does not.)
    cdef void* p
    if rt_malloc_is_seen(rt_malloc):
        return
    p = rt_seen_malloc(1)
    if hook_is_ours(p):
        rt_store_relaxed_u32(&rt_passing, 1)
    rt_seen_free(p)


cdef inline cold_int hooks_set(uint32_t domains) noexcept nogil:
    # Hook the domains of the bit set that are not hooked yet; 1, or 0 when there is no interpreter in the process.
    global rt_hooked
    cdef rt_python_exchange get = rt_python_get()
    cdef rt_python_exchange put = rt_python_set()
    cdef rt_python_allocator hook
    cdef int d
    if get == NULL or put == NULL:
        return 0
    hooks_look()
    for d in range(RT_DOMAINS):
        if domains & ~rt_hooked & (<uint32_t>1 << d):
            get(d, &rt_previous[d])
            hook_table(d, rt_passing != 0, &hook)
            rt_hooked |= <uint32_t>1 << d
            rt_store_relaxed_u64(&rt_hook_small, 0 if rt_paused else RT_MAX_SMALL)
            put(d, &hook)
    return 1


cdef inline uint32_t hooks_active() noexcept nogil:
    # The domains whose calls arrive here now: set, and not replaced by anybody since.
    cdef rt_python_exchange get = rt_python_get()
    cdef uint32_t active = 0
    cdef int d
    if get == NULL:
        return 0
    for d in range(RT_DOMAINS):
        if hook_is_set(d, False, get) or hook_is_set(d, True, get):
            active |= <uint32_t>1 << d
    return active


cdef inline cold_int hooks_pause(bint paused) noexcept nogil:
    # Send new requests to the previous allocators, or take them again. 0 when the hooks were set before the interpreter
    # chose its allocator: then there is none to send them to.
    cdef int d
    for d in range(RT_DOMAINS):
        if paused and rt_hooked & (<uint32_t>1 << d) and rt_previous[d].malloc == NULL:
            return 0
    rt_store_relaxed_u32(&rt_paused, paused)
    rt_store_relaxed_u64(&rt_hook_small, 0 if paused else RT_MAX_SMALL)
    return 1
