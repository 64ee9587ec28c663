/* System calls that want a process, or a file-system context, of one thread: the background thread ends first. */
#ifndef RT_ALONE_H
#define RT_ALONE_H
#include <errno.h>
#include "base/system.h"
static inline int rt_alone_answer(long r) {
    if (!rt_system_failed(r)) return (int)r;
    errno = (int)-r;
    return -1;
}
__attribute__((visibility("default"), used)) int unshare(int flags) {
    rt_background_end();
    return rt_alone_answer(rt_system(SYS_unshare, flags));
}
__attribute__((visibility("default"), used)) int setns(int file, int kind) {
    rt_background_end();
    return rt_alone_answer(rt_system(SYS_setns, file, kind));
}
#endif
