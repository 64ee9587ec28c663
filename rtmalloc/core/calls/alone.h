/* System calls that want a process, or a file-system context, of one thread: the background thread ends first. */
#ifndef RT_ALONE_H
#define RT_ALONE_H
#include "base/system.h"
__attribute__((visibility("default"), used)) int unshare(int flags) {
    rt_background_end();
    return rt_system_answer(rt_system(SYS_unshare, flags));
}
__attribute__((visibility("default"), used)) int setns(int file, int kind) {
    rt_background_end();
    return rt_system_answer(rt_system(SYS_setns, file, kind));
}
#endif
