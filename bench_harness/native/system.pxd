"""The system as a cell needs it: clock, atomics, own memory, own RSS. See `system.h` for the why."""

cdef extern from "bench_harness/native/system.h" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_barrier_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct sem_t:
        pass
    int pthread_create(pthread_t*, void*, void* (*)(void*) noexcept nogil, void*)
    int pthread_join(pthread_t, void**)
    pthread_t pthread_self()
    int pthread_barrier_init(pthread_barrier_t*, void*, unsigned)
    int pthread_barrier_wait(pthread_barrier_t*)
    int pthread_mutex_init(pthread_mutex_t*, void*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)
    int pthread_cond_init(pthread_cond_t*, void*)
    int pthread_cond_wait(pthread_cond_t*, pthread_mutex_t*)
    int pthread_cond_signal(pthread_cond_t*)
    int pthread_cond_broadcast(pthread_cond_t*)
    int sem_init(sem_t*, int, unsigned)
    int sem_wait(sem_t*)
    int sem_trywait(sem_t*)
    int sem_post(sem_t*)
    int sched_yield()
    void* pointer_read(void**)
    void spin_pause()
    void _exit(int)
    int dprintf(int, const char*, ...)
    long write(int, const void*, size_t)
    long read(int, void*, size_t)

    long atomic_read(const long*)
    void atomic_write(long*, long)
    long atomic_read_acquire(const long*)
    void atomic_write_release(long*, long)
    long atomic_add(long*, long)
    void* atomic_swap(void**, void*)
    long now_ns()
    void sleep_until_ns(long)
    long status_bytes(const char*)
    long resident_bytes()
    const char* object_of(const char*)
    bint blocks_overlap()
    void latency_begin()
    const char* latency_text()
    void* map_pages(size_t)
    void unmap_pages(void*, size_t)
    void usage_read(double*, double*, long*, long*, long*)
