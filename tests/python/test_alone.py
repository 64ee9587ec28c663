"""What needs one thread, and libraries whose fork handlers wait for threads that allocate."""

from __future__ import annotations

import errno
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.python.programs import answer, needs_objects, run_code

pytestmark = needs_objects
DRIVER = Path(__file__).resolve().parents[1] / "driver"
START = """
import ctypes, json, os, time
def name(t): return open(f'/proc/self/task/{t}/comm').read().strip()
def background(): return [t for t in os.listdir('/proc/self/task') if name(t) == 'rtmalloc']
kept = [bytes(1000) for _ in range(30_000)]
end = time.monotonic() + 20
while not background() and time.monotonic() < end: more = [bytes(n) for n in range(100)]
assert background()
libc = ctypes.CDLL(None, use_errno=True)
"""
ON = {"RTMALLOC_OPTIONS": "background_thread=1,dirty_decay_ms=60000"}


@pytest.mark.neighbour("unshare, setns", "a process of one thread enters a user or a mount namespace")
def test_unshare_of_the_user_namespace() -> None:
    # The kernel refuses it to a process of two threads.
    plain = subprocess.run(["unshare", "-U", "true"], capture_output=True, check=False)
    if plain.returncode != 0:
        pytest.skip("user namespaces are not allowed here")
    code = START + "print(json.dumps([libc.unshare(0x10000000), ctypes.get_errno()]))"
    assert answer(run_code(code, "launcher", env=ON)) == [0, 0]


@pytest.mark.neighbour("unshare, setns", "a process of one thread enters a user or a mount namespace")
def test_setns_of_the_mount_namespace() -> None:
    code = START + (
        "file = os.open('/proc/self/ns/mnt', os.O_RDONLY)\n"
        "print(json.dumps([libc.setns(file, 0x20000), ctypes.get_errno()]))"
    )
    got = answer(run_code(code, "launcher", env=ON))
    # Without privileges EPERM; EINVAL would be the thread.
    assert got[0] == 0 or got[1] == errno.EPERM, got


@pytest.mark.neighbour("no_new_privs, capabilities, affinity", "set by a thread after the background thread began")
@pytest.mark.parametrize(
    "call",
    ["prctl(38, 1, 0, 0, 0)", "sched_setaffinity(0, 8, mask)", "capset(header, 0)", "prctl(24, 0, 0, 0, 0)"],
    ids=["no_new_privs", "affinity", "capset", "bounding"],
)
def test_what_confines_one_thread_finds_one(call: str) -> None:
    code = START + (
        "mask = ctypes.byref(ctypes.c_ulong(1)); header = ctypes.byref((ctypes.c_uint * 2)(0x20080522, 0))\n"
        f"old = background(); libc.{call}; now = os.listdir('/proc/self/task')\n"
        "print(json.dumps([t for t in old if t in now]))"
    )
    assert answer(run_code(code, "launcher", env=ON)) == []


@pytest.mark.neighbour("seccomp", "a filter that kills on clone, set by prctl after the background thread began")
def test_a_filter_that_kills_on_clone_comes_late() -> None:
    # By the names of the kernel's header: an instruction of the filter is (code, jt, jf, k).
    code = START + (
        "import struct\n"
        "def one(c, t, f, k): return struct.pack('HBBI', c, t, f, k)\n"
        "clones = {'x86_64': (56, 435), 'aarch64': (220, 435)}[os.uname().machine]\n"
        "text = one(0x20, 0, 0, 0) + one(0x15, 1, 0, clones[0]) + one(0x15, 0, 1, clones[1])"
        " + one(0x06, 0, 0, 0x80000000) + one(0x06, 0, 0, 0x7FFF0000)\n"
        "filter = ctypes.create_string_buffer(text)\n"
        "program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(text) // 8, ctypes.addressof(filter)))\n"
        "assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end: more = [bytes(n) for n in range(3000)]\n"
        "print(json.dumps(background()))"
    )
    assert answer(run_code(code, "launcher", env=ON)) == []


def test_the_option_ends_it_for_good() -> None:
    code = START + (
        "import rtmalloc; rtmalloc.configure(background_thread=0)\n"
        "gone = not background(); more = [bytes(n) for n in range(3000)] * 3\n"
        "time.sleep(0.2); print(json.dumps([gone, background()]))"
    )
    assert answer(run_code(code, "launcher", env=ON)) == [True, []]


@pytest.mark.neighbour(
    "fork handlers of others", "a prepare handler waits for a thread that allocates; `install()` comes later"
)
def test_handlers_that_wait_for_threads_that_allocate(tmp_path: Path) -> None:
    if not DRIVER.exists():
        pytest.skip("needs the checkout: it compiles a driver")
    library = tmp_path / "waiting.so"
    include = sysconfig.get_paths()["include"]
    flags = ["-shared", "-fPIC", "-O1", f"-I{include}"]
    command = ["gcc", *flags, str(DRIVER / "waiting_handler.c"), "-o", str(library), "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    code = (
        "import ctypes, json, os\n"
        f"lib = ctypes.PyDLL({str(library)!r}); lib.lib_start()\n"
        "import rtmalloc; rtmalloc.install()\n"
        "codes = []\n"
        "for _ in range(50):\n"
        "    child = os.fork()\n"
        "    if child == 0: kept = [bytes(n) for n in range(3000)]; os._exit(0)\n"
        "    codes.append(os.waitpid(child, 0)[1])\n"
        "print(json.dumps(sum(codes)), flush=True); os._exit(0)"
    )
    assert answer(run_code(code)) == 0
