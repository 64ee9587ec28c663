/* What walks the Python frames of a thread: three functions that the extension hands to the allocator.
 * The preload library depends on no Python, so that it calls them by pointers, and only while it makes a sample. */
#ifndef RT_PYTHON_WALK_H
#define RT_PYTHON_WALK_H
#include <stddef.h>
#include <stdint.h>
typedef struct {
    const void *code; /* a code object, alive as long as the thread stays in the call that walked */
    int32_t at;       /* the instruction, in bytes */
    uint32_t coroutine; /* 1: of an async function */
} rt_python_frame;
typedef struct {
    /* The calling thread's frames, the innermost first, at most `most`; 0 where it does not hold the interpreter's lock.
     * `loop` is an address in the native frame of the function that interprets their byte code, the latest; or 0.
     * NULL: this interpreter's frames are not laid out as they are known. */
    uint32_t (*walk)(rt_python_frame *frames, uint32_t most, uintptr_t *loop);
    /* The file (which = 0) or the qualified name (1) of a code object as UTF-8; its length, cut off at `room`. */
    size_t (*text)(const void *code, int which, char *out, size_t room);
    int32_t (*line)(const rt_python_frame *frame);
} rt_python_walk;
#endif
