/* The Python frames of the calling thread, read without a call that could allocate; compiled into the extension alone.
 *
 * Who holds the interpreter's lock and runs on this thread may read its frames: nobody else changes them. A thread without
 * the lock is told by its thread state: none is current, or another thread's. From CPython 3.12 on a dying frame has left
 * the chain before its locals are cleared; in 3.10 and 3.11 it stands there until the end, so that its code object may be in
 * the middle of its own deallocation: its count is then 0, and the frame is left out.
 *
 * The structs are those of the very interpreter that this is compiled for; from 3.14 on the interpreter tells where their fields
 * lie. One that is laid out in another way is refused: its profiles have no Python frames, and say so. */
#ifndef RT_PYTHON_FRAMES_H
#define RT_PYTHON_FRAMES_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <Python.h>
#include <string.h>
#include "python_walk.h"
#if PY_VERSION_HEX >= 0x030a0000 && PY_VERSION_HEX < 0x03100000 && !defined(PYPY_VERSION)
#if PY_VERSION_HEX >= 0x030e0000
#include "python_offsets.h"
static inline int rt_python_is_known(void) {
    if (!rt_python_table_fits(&rt_python_runtime)) return 0;
    rt_python_known = rt_python_runtime;
    return 1;
}
#else
static inline int rt_python_is_known(void) { return 1; }
#if PY_VERSION_HEX >= 0x030b0000
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include "internal/pycore_frame.h"
typedef struct _PyInterpreterFrame rt_frame;
#else
#include "frameobject.h"
typedef struct _frame rt_frame;
#endif

/* The thread state of this thread while it holds the lock, else NULL. */
static inline PyThreadState *rt_python_state(void) {
#if PY_VERSION_HEX >= 0x030d0000
    return PyThreadState_GetUnchecked();
#elif PY_VERSION_HEX >= 0x030c0000
    return _PyThreadState_UncheckedGet();
#else
    PyThreadState *now = _PyThreadState_UncheckedGet();
    return now && now == PyGILState_GetThisThreadState() ? now : NULL;
#endif
}
static inline rt_frame *rt_python_first(PyThreadState *state) {
#if PY_VERSION_HEX >= 0x030d0000
    return state->current_frame;
#elif PY_VERSION_HEX >= 0x030b0000
    return state->cframe ? state->cframe->current_frame : NULL;
#else
    return state->frame;
#endif
}
static inline rt_frame *rt_python_previous(rt_frame *frame) {
#if PY_VERSION_HEX >= 0x030b0000
    return frame->previous;
#else
    return frame->f_back;
#endif
}
/* The code object of a frame of a Python function; NULL for the interpreter's own. */
static inline PyCodeObject *rt_python_code(rt_frame *frame) {
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *code = frame->f_executable;
    if (frame->owner == FRAME_OWNED_BY_CSTACK || !code || !PyCode_Check(code)) return NULL;
#elif PY_VERSION_HEX >= 0x030c0000
    PyObject *code = (PyObject *)frame->f_code;
    if (frame->owner == FRAME_OWNED_BY_CSTACK || !code || !PyCode_Check(code)) return NULL;
#else
    PyObject *code = (PyObject *)frame->f_code;
    if (!code || !PyCode_Check(code)) return NULL;
#endif
    return Py_REFCNT(code) > 0 ? (PyCodeObject *)code : NULL;
}
/* An address in the native frame of the loop that interprets: its own struct there, up to 3.12. */
static inline uintptr_t rt_python_loop(PyThreadState *state) {
#if PY_VERSION_HEX >= 0x030d0000
    (void)state;
    return 0;
#else
    return (uintptr_t)state->cframe;
#endif
}
/* The same by the frame with which a loop begins, from 3.13 on; 0 for another frame. */
static inline uintptr_t rt_python_entry(rt_frame *frame) {
#if PY_VERSION_HEX >= 0x030d0000
    return frame->owner == FRAME_OWNED_BY_CSTACK ? (uintptr_t)frame : 0;
#else
    (void)frame;
    return 0;
#endif
}
static inline int32_t rt_python_at(rt_frame *frame, PyCodeObject *code) {
#if PY_VERSION_HEX >= 0x030d0000
    return (int32_t)((const char *)frame->instr_ptr - (const char *)_PyCode_CODE(code));
#elif PY_VERSION_HEX >= 0x030b0000
    return (int32_t)((const char *)frame->prev_instr - (const char *)_PyCode_CODE(code));
#else
    (void)code;
    return frame->f_lasti * 2;
#endif
}
#endif

/* Whether the interpreter made the code itself: what runs behind an `__init__` that was called without a native frame. */
static inline int rt_python_is_made(PyCodeObject *code) {
#if PY_VERSION_HEX >= 0x030c0000
    return code->co_filename == code->co_qualname && PyUnicode_READ_CHAR(code->co_filename, 0) == '_';
#else
    (void)code;
    return 0;
#endif
}

static uint32_t rt_python_frames(rt_python_frame *frames, uint32_t most, uintptr_t *loop) {
    PyThreadState *state = rt_python_state();
    rt_frame *frame = state ? rt_python_first(state) : NULL;
    uint32_t count = 0;
    *loop = state ? rt_python_loop(state) : 0;
    for (; frame && (count < most || !*loop); frame = rt_python_previous(frame)) {
        PyCodeObject *code = rt_python_code(frame);
        if (!code) {
            if (!*loop) *loop = rt_python_entry(frame);
        } else if (count < most && !rt_python_is_made(code))
            frames[count++] = (rt_python_frame){
                code, rt_python_at(frame, code), (code->co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0};
    }
    return count;
}

static size_t rt_python_text(const void *code, int which, char *out, size_t room) {
#if PY_VERSION_HEX >= 0x030b0000
    PyObject *text = which ? ((PyCodeObject *)code)->co_qualname : ((PyCodeObject *)code)->co_filename;
#else
    PyObject *text = which ? ((PyCodeObject *)code)->co_name : ((PyCodeObject *)code)->co_filename;
#endif
    size_t at = 0;
    if (!text || !PyUnicode_Check(text)) return 0;
#if PY_VERSION_HEX < 0x030c0000
    if (!PyUnicode_IS_READY(text)) return 0;
#endif
    for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(text); i++) {
        Py_UCS4 c = PyUnicode_READ(PyUnicode_KIND(text), PyUnicode_DATA(text), i);
        int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        if (c >= 0xd800 && c < 0xe000) { c = '?'; more = 0; }
        if (at + (size_t)more >= room) break;
        out[at++] = (char)(more == 0 ? c : (0xf0 << (3 - more) & 0xff) | c >> 6 * more);
        while (more--) out[at++] = (char)(0x80 | (c >> 6 * more & 63));
    }
    return at;
}

/* (Of 3.10 to 3.15: reads the code object's tables, and allocates nothing.) */
static int32_t rt_python_line(const rt_python_frame *frame) {
    return PyCode_Addr2Line((PyCodeObject *)frame->code, frame->at < 0 ? 0 : frame->at);
}

/* What this interpreter offers. */
static inline const rt_python_walk *rt_python_walk_here(void) {
    static rt_python_walk walk;
    if (!walk.walk && rt_python_is_known()) {
        walk.text = rt_python_text;
        walk.line = rt_python_line;
        walk.walk = rt_python_frames;
    }
    return &walk;
}
#else
static inline const rt_python_walk *rt_python_walk_here(void) {
    static const rt_python_walk none;
    return &none;
}
#endif
#endif
