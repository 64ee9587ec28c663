"""``rtmalloc doctor``: what would keep rtmalloc from working here, or from working well, and how to mend it.

A check is a function without arguments that returns a :class:`Finding`; what it looks at is a constant of this module
or a function of the standard library, so that a test can put another world in its place.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rtmalloc import _core
from rtmalloc.interpreter.install import other_hooks, tracemalloc_is_tracing
from rtmalloc.launcher.launch import LaunchError, environment, why_not_preloadable
from rtmalloc.settings import CONFIG, OPTIONS, SWITCH, check_config, library_path, options_parse

OK, NOTE, PROBLEM = "ok", "note", "problem"
"""Levels: nothing to do; works, but not as well as it could; does not work."""

THP_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
OVERCOMMIT_FILE = Path("/proc/sys/vm/overcommit_memory")
OTHER_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc", "snmalloc", "rpmalloc", "hoard", "libasan", "libtsan", "memray")

_LEAST_ADDRESS_SPACE = 1 << 30
_PROBE_SECONDS = 60


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    level: str
    """``"ok"``, ``"note"`` or ``"problem"``."""
    text: str
    """What is the case, one sentence."""
    fix: str = ""
    """What to do about it; empty when there is nothing to do."""


def check_interpreter() -> Finding:
    """rtmalloc hooks CPython's allocators, from 3.10 on."""
    version = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.implementation.name != "cpython":
        return Finding("interpreter", PROBLEM, f"{version} has allocators of its own", "use CPython 3.10 or later")
    return Finding("interpreter", OK, version)


def check_free_threading() -> Finding:
    """On a free-threaded build only RAW can be replaced."""
    if _core.is_free_threaded():
        return Finding(
            "free threading",
            NOTE,
            "a free-threaded build keeps its objects in its own allocator, whose heaps its garbage collector walks",
            "rtmalloc serves malloc and the raw domain here; use a build with the GIL for objects too",
        )
    return Finding("free threading", OK, "a build with the GIL: all three domains can be served")


def check_library() -> Finding:
    """The preload library is there."""
    try:
        return Finding("library", OK, str(library_path()))
    except FileNotFoundError as error:
        return Finding("library", PROBLEM, str(error), "reinstall rtmalloc")


def check_switch() -> Finding:
    """``RTMALLOC=0`` keeps rtmalloc out."""
    if os.environ.get(SWITCH) == "0":
        return Finding("switch", PROBLEM, f"{SWITCH}=0 keeps rtmalloc out of every program", f"unset {SWITCH}")
    return Finding("switch", OK, f"{SWITCH} is not 0")


def check_options() -> Finding:
    """``RTMALLOC_OPTIONS`` holds only what the allocator takes."""
    text = os.environ.get(OPTIONS, "")
    try:
        values = options_parse(text)
    except ValueError as error:
        return Finding("options", PROBLEM, str(error), "correct the value; `rtmalloc options` lists them all")
    return Finding("options", OK, f"{OPTIONS} sets {', '.join(values) if values else 'nothing'}")


def check_size_classes() -> Finding:
    """Which table of size classes programs get."""
    chosen = ""
    for part in os.environ.get(OPTIONS, "").split(","):
        name, _, value = part.partition("=")
        chosen = value if name == CONFIG else chosen
    if not chosen:
        sizes, _ = _core.size_classes()
        return Finding("size classes", OK, f"{len(sizes)} small classes up to {sizes[-1]} bytes")
    try:
        check_config(chosen)
    except ValueError as error:
        return Finding("size classes", PROBLEM, f"{error}; the built-in table stays", "correct the table, or unset it")
    if not os.path.isabs(chosen):
        return Finding(
            "size classes",
            NOTE,
            f"from {chosen}, a relative path: programs that start in another directory do not find it",
            f"name {os.path.abspath(chosen)}",
        )
    return Finding("size classes", OK, f"from {chosen}")


def check_pythonmalloc() -> Finding:
    """``PYTHONMALLOC`` chooses CPython's allocator after the preload library has hooked it."""
    chosen = os.environ.get("PYTHONMALLOC", "")
    if chosen in ("", "default"):
        return Finding("PYTHONMALLOC", OK, "not set")
    if chosen == "malloc":
        return Finding(
            "PYTHONMALLOC",
            NOTE,
            "PYTHONMALLOC=malloc sends objects through the C library's malloc: rtmalloc's under the launcher, with a "
            "detour; install() cannot hook over it there",
            "unset PYTHONMALLOC",
        )
    return Finding(
        "PYTHONMALLOC", PROBLEM, f"PYTHONMALLOC={chosen} keeps Python's objects off rtmalloc", "unset PYTHONMALLOC"
    )


def check_debug_hooks() -> Finding:
    """``-X dev`` puts CPython's debug hooks over the default allocator."""
    debugging, others = other_hooks()
    if debugging and not tracemalloc_is_tracing():
        return Finding(
            "hooks",
            PROBLEM,
            "CPython's debug hooks are active (-X dev, PYTHONDEVMODE, PYTHONMALLOC=debug): they replace the launcher's "
            "hooks, and install() refuses",
            "start without -X dev; for checks use PYTHONMALLOC=debug without rtmalloc",
        )
    if others:
        return Finding(
            "hooks", PROBLEM, f"{', '.join(others)} has hooked Python's allocators", "install rtmalloc before it"
        )
    return Finding("hooks", OK, "nobody else has hooked Python's allocators")


def check_tracemalloc() -> Finding:
    """tracemalloc takes its hooks away when it stops, and ours with them if they came later."""
    if tracemalloc_is_tracing():
        return Finding(
            "tracemalloc",
            NOTE,
            "tracemalloc is tracing: fine under the launcher, but install() refuses until it stops",
            "unset PYTHONTRACEMALLOC, drop -X tracemalloc, or install before tracemalloc.start()",
        )
    return Finding("tracemalloc", OK, "not tracing")


def check_other_preloads() -> Finding:
    """Of several mallocs in ``LD_PRELOAD`` the first one serves."""
    value = os.environ.get("LD_PRELOAD", "")
    rivals = [entry for entry in value.replace(" ", ":").split(":") if any(o in entry for o in OTHER_ALLOCATORS)]
    if rivals:
        return Finding(
            "LD_PRELOAD",
            NOTE,
            f"{', '.join(rivals)} is preloaded too: the launcher puts rtmalloc in front of it, other starters may not",
            "take it out of LD_PRELOAD",
        )
    return Finding("LD_PRELOAD", OK, value or "not set")


def check_loader() -> Finding:
    """The loader ignores ``LD_PRELOAD`` for privileged and for static programs."""
    reason = why_not_preloadable(os.path.realpath(sys.executable))
    if reason:
        return Finding("loader", PROBLEM, f"{sys.executable} {reason}", "use install(), which needs no loader")
    return Finding("loader", OK, f"preloads into {sys.executable}")


def check_c_library() -> Finding:
    """musl refuses initial-exec thread-local storage in libraries that are loaded late."""
    if "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")) or "musl" in str(sysconfig.get_config_var("MULTIARCH")):
        return Finding("C library", NOTE, "musl: rtmalloc is tested with glibc", "use a glibc image, or test well")
    return Finding("C library", OK, " ".join(platform.libc_ver()) or "unknown")


def check_static_tls() -> Finding:
    """The extension needs 8 bytes of static thread-local storage, which every loaded library draws from."""
    # Without them `import rtmalloc` has failed, with a sentence of its own, and nobody gets here.
    return Finding("static TLS", OK, "the extension was loaded")


def check_address_space() -> Finding:
    """A limit on the address space makes rtmalloc map its arena piece by piece."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return Finding("address space", OK, "no limit")
    mib = soft >> 20
    if soft < _LEAST_ADDRESS_SPACE:
        return Finding(
            "address space",
            NOTE,
            f"limited to {mib} MiB (ulimit -v): tables and arena share it with everything else",
            "limit the memory instead of the address space (a cgroup's memory.max)",
        )
    return Finding("address space", OK, f"limited to {mib} MiB: the arena is made to fit")


def check_overcommit() -> Finding:
    """Strict overcommit counts what is reserved."""
    try:
        strict = OVERCOMMIT_FILE.read_text().strip() == "2"
    except OSError:
        return Finding("overcommit", OK, "unknown")
    if strict:
        return Finding(
            "overcommit",
            NOTE,
            "vm.overcommit_memory=2: the kernel counts mapped memory even if it is never touched",
            "expect an earlier out-of-memory; vm.overcommit_memory=0 or 1 does not count it",
        )
    return Finding("overcommit", OK, "reserved address space costs nothing")


def check_huge_pages() -> Finding:
    """With transparent huge pages everywhere, one live block keeps 2 MiB."""
    try:
        text = THP_FILE.read_text()
    except OSError:
        return Finding("huge pages", OK, "no transparent huge pages")
    if "[always]" in text:
        return Finding(
            "huge pages",
            NOTE,
            "transparent huge pages are always on: the kernel may fill in memory that was given back, 2 MiB at a time",
            f"echo madvise > {THP_FILE}",
        )
    return Finding("huge pages", OK, "transparent huge pages only where a program asks for them")


def check_page_size() -> Finding:
    """Memory goes back in pages."""
    size = os.sysconf("SC_PAGE_SIZE")
    if size > 4096:
        return Finding("page size", NOTE, f"{size >> 10} KiB pages: less goes back after a burst than with 4 KiB ones")
    return Finding("page size", OK, f"{size >> 10} KiB")


def check_launch() -> Finding:
    """Start this interpreter under the launcher's environment and ask every way in."""
    program = "import rtmalloc; print(','.join(rtmalloc.verify().missing))"
    try:
        env = environment(os.environ)
    except (LaunchError, ValueError) as error:
        return Finding("launch", PROBLEM, f"not tried: {error}")
    try:
        found = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=_PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("launch", PROBLEM, f"the interpreter did not start under the preload library: {error}")
    if found.returncode:
        last = (found.stderr.strip() or "no message").splitlines()[-1]
        return Finding("launch", PROBLEM, f"the interpreter failed with status {found.returncode}: {last}")
    if found.stdout.strip():
        return Finding("launch", PROBLEM, f"these do not arrive at rtmalloc under the launcher: {found.stdout.strip()}")
    return Finding("launch", OK, "under the launcher every allocation arrives at rtmalloc")


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_interpreter,
    check_free_threading,
    check_library,
    check_switch,
    check_options,
    check_size_classes,
    check_pythonmalloc,
    check_debug_hooks,
    check_tracemalloc,
    check_other_preloads,
    check_loader,
    check_c_library,
    check_static_tls,
    check_address_space,
    check_overcommit,
    check_huge_pages,
    check_page_size,
    check_launch,
)


def examine() -> list[Finding]:
    """All checks, in their order."""
    return [check() for check in CHECKS]


def as_text(findings: list[Finding]) -> str:
    """One line per finding, with what to do below the ones that need it."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:8} {finding.name:{width}}  {finding.text}")
        if finding.fix:
            lines.append(f"{'':8} {'':{width}}  -> {finding.fix}")
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> str:
    """The findings as a JSON array of objects."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)
