"""The allocator calls next to nothing that another library may have replaced, and that holding nothing."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from .building import DRIVER, PLAIN, PRELOAD, compile_cached, driver, preloaded, run

# All that the preload library wants of other libraries, and why it cannot do without. Everything else is a system call
# of its own (rtmalloc/core/base/system.h), or a look into the kernel's image (vdso.h).
FOREIGN = {
    # Text and memory: no state, no lock, no allocation; compilers make calls of them by themselves.
    **dict.fromkeys(
        [
            "memchr",
            "memcmp",
            "memcpy",
            "memmove",
            "memset",
            "strchr",
            "strcmp",
            "strcspn",
            "strlen",
            "strstr",
            "strncmp",
        ],
        "no state",
    ),
    "environ": "data",
    "__environ": "data",
    "__errno_location": "errno is the program's, and the C library knows where it is",
    "getauxval": "what the kernel said at the start: reads memory",
    "abort": "the end, after a complaint",
    # What the C library alone knows. Each is called holding no lock of ours.
    "pthread_key_create": "the end of a thread; once, when the first heap wants it",
    "pthread_key_delete": "two threads made the key at once: one of them takes it back",
    "pthread_setspecific": "the end of a thread; once in each",
    "__register_atfork": "fork; once",
    **dict.fromkeys(
        [
            "pthread_create",
            "pthread_attr_init",
            "pthread_attr_destroy",
            "pthread_attr_setdetachstate",
            "pthread_attr_setstacksize",
            "pthread_sigmask",
            "sigfillset",
        ],
        "the background thread, from a heartbeat",
    ),
    # When the library is loaded, or a caller asks for it.
    "sigaction": "the signal that asks for a heap profile, where options name one",
    "dlopen": "C++'s new at the end of memory: is there a libstdc++?",
    "fprintf": "malloc_info writes to the caller's stream",
    "dlsym": "CPython's hooks, and setuid and its kin",
    "dladdr": "the library's own path, for LD_PRELOAD, and whose memcpy is",
}
# Weak: they need not be there.
WEAK = {"__libc_single_threaded", "_IO_list_lock", "_IO_list_unlock", "_IO_list_resetlock"}  # fork
WEAK |= {f"__{letter}san_init" for letter in ("a", "hwa", "l", "m", "t")}  # is a sanitizer in the process?
WEAK |= {"__libc_stack_end"}  # the environment, before the C library knows it
WEAK |= {"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__cxa_finalize", "__gmon_start__"}


def test_foreign_functions_are_the_named_ones() -> None:
    done = run(["nm", "-D", "--undefined-only", PRELOAD])
    assert done.returncode == 0, done.stderr
    wanted = {name.split("@")[0] for name in re.findall(r" [Uwv] (\S+)", done.stdout)}
    assert wanted - WEAK == FOREIGN.keys()


def hostile() -> Path:
    """The library that stands before everything (tests/driver/hostile.c)."""
    source = DRIVER / "hostile.c"
    flags = ["-shared", "-fPIC", "-O1", "-w", "-fno-builtin"]
    return compile_cached("hostile.so", [source], [["gcc", *flags, source, "-o", "{out}", "-ldl", "-lpthread"]])


def both(other: Path | str, first: bool, options: str = "") -> dict[str, str]:
    """An environment with the library and another one preloaded, in either order."""
    names = [str(PRELOAD), str(other)]
    return {**preloaded(options), "LD_PRELOAD": ":".join(names if first else names[::-1])}


ORDERS = pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
BACKGROUND = "background_thread=1,dirty_decay_ms=10,epoch_ms=5"


@pytest.mark.neighbour(
    "libraries under names of the C library", "one that allocates in every call, before or behind the library"
)
@ORDERS
@pytest.mark.parametrize(
    "mode", [("churn", "4", "20000"), ("grow", "2", "5"), ("short", "4", "2000"), ("fork", "2", "10")], ids="-".join
)
def test_under_a_library_that_allocates_in_every_call(mode: tuple[str, str, str], first: bool) -> None:
    done = run([driver("stress", PLAIN), *mode, "1"], environment=both(hostile(), first, BACKGROUND), seconds=20)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr[-2000:]}"
    assert "fine" in done.stdout


# Threads, a fork and another program: what a wrapper takes part in.
PROGRAM = """
import os, threading
kept = [bytes(i % 3000) for i in range(60000)]
threads = [threading.Thread(target=lambda: [bytes(j) for j in range(3000)]) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
child = os.fork()
if child == 0: os._exit(0)
assert os.waitpid(child, 0)[1] == 0 and os.system("true") == 0
print(len(kept), "ok")
"""
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
WRAPPERS = {
    "libuid_wrapper.so": {"UID_WRAPPER": "1"},
    "libsocket_wrapper.so": {"SOCKET_WRAPPER_DIR": "{directory}"},
    "faketime/libfaketime.so.1": {"FAKETIME": "-15d"},
    "faketime/libfaketimeMT.so.1": {"FAKETIME": "-15d"},
}


@pytest.mark.neighbour("libfaketime, uid_wrapper, socket_wrapper", "preloaded before or behind the library")
@ORDERS
@pytest.mark.parametrize("options", ["", BACKGROUND], ids=["plain", "background"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_under_a_wrapper(name: str, options: str, first: bool, tmp_path: Path) -> None:
    if not (LIBRARIES / name).exists():
        pytest.skip(f"{name} is not installed (ci/packages)")
    settings = {key: value.format(directory=tmp_path) for key, value in WRAPPERS[name].items()}
    environment = {**both(LIBRARIES / name, first, options), **settings}
    done = run([sys.executable, "-c", PROGRAM], environment=environment, seconds=30)
    assert (done.returncode, done.stdout) == (0, "60000 ok\n"), f"{done.returncode}: {done.stderr[-2000:]}"


@ORDERS
def test_faketime_keeps_its_own_time(first: bool) -> None:
    library = LIBRARIES / "faketime/libfaketime.so.1"
    if not library.exists():
        pytest.skip("libfaketime is not installed (ci/packages)")
    date = shutil.which("date")
    assert date is not None
    environment = {**both(library, first), "FAKETIME": "2001-02-03 04:05:06"}
    done = run([date, "+%F"], environment=environment, seconds=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2001-02-03\n", "")
