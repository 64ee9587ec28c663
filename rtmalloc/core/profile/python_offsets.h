/* Where the Python frames of CPython 3.14 and later lie: by the table of offsets that the interpreter has of itself.
 *
 * Debuggers find it as the first part of `_PyRuntime`. Its own struct may change with each minor version and is that of the
 * interpreter that this is compiled for; what it says is checked before anything is read by it. A frame's references carry
 * tags in their low bits. On a free-threaded build each thread may run a copy of the byte code of its own. */
#ifndef RT_PYTHON_OFFSETS_H
#define RT_PYTHON_OFFSETS_H
#include <Python.h>
#include <stdint.h>
#include <string.h>
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#include "internal/pycore_debug_offsets.h"
#undef Py_BUILD_CORE
#else
#include "internal/pycore_debug_offsets.h"
#endif

typedef char rt_frame; /* _PyInterpreterFrame, by its bytes */
typedef struct _Py_DebugOffsets rt_python_table;

enum {
    RT_PYTHON_TAGS = 3,     /* the low bits of a reference in a frame */
    RT_PYTHON_OWNERS = 3,   /* owners below are functions, generators and frame objects; the others the interpreter's own */
    RT_PYTHON_MOST = 1 << 10, /* a frame's head and a code object's have fewer bytes; a thread state has less than 64 KiB */
    RT_PYTHON_STATE_MOST = 1 << 16
};

extern const rt_python_table rt_python_runtime __asm__("_PyRuntime");
static rt_python_table rt_python_known; /* a copy, once it has been found good */

static inline int rt_python_within(uint64_t at, uint64_t bytes, uint64_t size, uint64_t most) {
    return size <= most && at % bytes == 0 && at < size && size - at >= bytes;
}

/* Whether a table describes the interpreter that this was compiled for. */
static inline int rt_python_table_fits(const rt_python_table *t) {
#ifdef Py_GIL_DISABLED
    const int free_threaded = 1;
#else
    const int free_threaded = 0;
#endif
    const struct _interpreter_frame *f = &t->interpreter_frame;
    const struct _code_object *c = &t->code_object;
    if (memcmp(t->cookie, _Py_Debug_Cookie, sizeof t->cookie) || t->version >> 16 != PY_VERSION_HEX >> 16) return 0;
    if (t->free_threaded != (uint64_t)free_threaded) return 0;
    if (!rt_python_within(t->thread_state.current_frame, sizeof(void *), t->thread_state.size, RT_PYTHON_STATE_MOST)) return 0;
    if (!rt_python_within(f->previous, sizeof(void *), f->size, RT_PYTHON_MOST)) return 0;
    if (!rt_python_within(f->executable, sizeof(void *), f->size, RT_PYTHON_MOST)) return 0;
    if (!rt_python_within(f->instr_ptr, sizeof(void *), f->size, RT_PYTHON_MOST)) return 0;
    if (!rt_python_within(f->owner, 1, f->size, RT_PYTHON_MOST)) return 0;
    if (free_threaded && !rt_python_within(f->tlbc_index, sizeof(int32_t), f->size, RT_PYTHON_MOST)) return 0;
    /* Code objects and texts are read as the headers have them. */
    return c->size == sizeof(PyCodeObject) && c->filename == offsetof(PyCodeObject, co_filename)
        && c->qualname == offsetof(PyCodeObject, co_qualname) && c->linetable == offsetof(PyCodeObject, co_linetable)
        && c->co_code_adaptive == offsetof(PyCodeObject, co_code_adaptive)
        && t->unicode_object.asciiobject_size == sizeof(PyASCIIObject);
}

static inline void *rt_python_word(const void *of, uint64_t at) {
    void *word;
    memcpy(&word, (const char *)of + at, sizeof word);
    return word;
}
static inline PyThreadState *rt_python_state(void) { return PyThreadState_GetUnchecked(); }
static inline rt_frame *rt_python_first(PyThreadState *state) {
    return (rt_frame *)rt_python_word(state, rt_python_known.thread_state.current_frame);
}
static inline rt_frame *rt_python_previous(rt_frame *frame) {
    return (rt_frame *)rt_python_word(frame, rt_python_known.interpreter_frame.previous);
}
/* The code object of a frame of a Python function; NULL for the interpreter's own. */
static inline PyCodeObject *rt_python_code(rt_frame *frame) {
    uintptr_t code = (uintptr_t)rt_python_word(frame, rt_python_known.interpreter_frame.executable) & ~(uintptr_t)RT_PYTHON_TAGS;
    if ((unsigned char)frame[rt_python_known.interpreter_frame.owner] >= RT_PYTHON_OWNERS) return NULL;
    return code && PyCode_Check((PyObject *)code) ? (PyCodeObject *)code : NULL;
}
static inline uintptr_t rt_python_loop(PyThreadState *state) { (void)state; return 0; }
/* The frame with which a loop begins lies in the native frame of that loop. It has no code, unlike another of the interpreter's. */
static inline uintptr_t rt_python_entry(rt_frame *frame) {
    uintptr_t code = (uintptr_t)rt_python_word(frame, rt_python_known.interpreter_frame.executable) & ~(uintptr_t)RT_PYTHON_TAGS;
    int is_entry = (unsigned char)frame[rt_python_known.interpreter_frame.owner] >= RT_PYTHON_OWNERS;
    return is_entry && !(code && PyCode_Check((PyObject *)code)) ? (uintptr_t)frame : 0;
}
static inline int32_t rt_python_at(rt_frame *frame, PyCodeObject *code) {
    const char *first = (const char *)code + offsetof(PyCodeObject, co_code_adaptive);
    const char *now = (const char *)rt_python_word(frame, rt_python_known.interpreter_frame.instr_ptr);
    const Py_ssize_t bytes = Py_SIZE(code) * (Py_ssize_t)sizeof(uint16_t);
#ifdef Py_GIL_DISABLED
    int32_t index;
    memcpy(&index, frame + rt_python_known.interpreter_frame.tlbc_index, sizeof index);
    if (code->co_tlbc && index >= 0 && index < code->co_tlbc->size && code->co_tlbc->entries[index])
        first = code->co_tlbc->entries[index];
#endif
    /* (Compiled code may leave another word there.) */
    return now >= first && now - first < bytes ? (int32_t)(now - first) : 0;
}
#endif
