"""The names under which programs find the allocator: libc's, C++'s, other allocators'. docs/names.md has the table."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .building import DRIVER, PRELOAD, ROOT, compile_cached, preloaded, run

PEERS = ["libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libtcmalloc.so.4", "libmimalloc.so.2", "libc.so.6"]
FOLDERS = [Path("/usr/lib/x86_64-linux-gnu"), Path("/lib/x86_64-linux-gnu"), *sorted((ROOT / ".peers").glob("**/lib*"))]
# What hands out a block, takes one, or asks about one, by its name.
BLOCKS = re.compile(
    r"^(?!.*(hook|buffer|locale|globfree|regfree|wordfree|xdr_free|addrinfo|ifaddrs|nameindex|fallocate|obstack|pkey_|_IO_|"
    r"alloca|allocate_|scratch|freeres|cpualloc|cpufree|inet6|mallwatch|_small|Allocator|google_malloc|mallctl|malloc_conf|malloc_message))"
    r".*(alloc|free|memalign|dallocx|malloc_size|mallinfo|mallopt|^_Zn[wa]|^_Zd[la])"
)
# Families of which nothing is taken: their blocks meet only their own functions.
LEFT = re.compile(
    r"^(mi_|_ZN?K?[0-9]|_ZG|_ZT|_ZZ|_ZNS|MallocExtension_|MallocHook_|TCMalloc|FLAG|tcmalloc_|malloc_stats_print|"
    r"__libc_(mallinfo|mallopt|reallocarray)$|tc_(mallinfo|mallopt|malloc_stats|get_|set_|query_|version))"
)


def symbols(library: Path) -> set[str]:
    """The functions that a library exports."""
    done = run(["nm", "-D", "--defined-only", library])
    assert done.returncode == 0, done.stderr
    return {name.split("@")[0] for name in re.findall(r" [TWiV] (\S+)", done.stdout)}


@pytest.mark.neighbour("jemalloc, tcmalloc, mimalloc", "their names, for programs that are linked with them")
@pytest.mark.parametrize("peer", PEERS)
def test_families_of_a_peer_are_taken_whole(peer: str) -> None:
    found = [folder / peer for folder in FOLDERS if (folder / peer).exists()]
    if not found:
        pytest.skip(f"{peer} is not installed (ci/packages)")
    ours = symbols(PRELOAD)
    wanted = {name for name in symbols(found[0]) if BLOCKS.search(name) and not LEFT.search(name)}
    assert len(wanted) > 15, wanted
    assert wanted - ours == set()


def test_table_names_every_export() -> None:
    page = (ROOT / "docs" / "names.md").read_text()
    named = set(re.findall(r"`([\w*]+)`", page))
    families = [name[:-1] for name in named if name.endswith("*")]
    left = {n for n in symbols(PRELOAD) if n not in named and not any(n.startswith(f) for f in families)}
    assert left == set()


def program(source: str, *flags: str) -> Path:
    """A test program of tests/driver, compiled with ``flags``."""
    compiler = "g++" if source.endswith("pp") else "gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    path = DRIVER / source
    name = "-".join([path.stem, *(re.sub(r"\W", "", flag) for flag in flags)])
    return compile_cached(name, [path], [[compiler, "-O0", "-fno-builtin", "-w", path, *flags, "-o", "{out}", "-ldl"]])


def fine(path: Path) -> None:
    """The program runs under the preload and says so at its end."""
    done = run([path], environment=preloaded(), seconds=30)
    assert done.returncode == 0 and done.stdout.endswith("fine\n"), f"{done.returncode}: {done.stdout}{done.stderr}"


LINKED = {"alone": "", "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}


@pytest.mark.parametrize("peer", LINKED)
@pytest.mark.parametrize("source", ["operators.cpp", "families.c"])
def test_every_block_meets_every_free(source: str, peer: str) -> None:
    flags: list[str] = []
    if LINKED[peer]:
        libraries = [folder / LINKED[peer] for folder in FOLDERS if (folder / LINKED[peer]).exists()]
        if not libraries:
            pytest.skip(f"{LINKED[peer]} is not installed (ci/packages)")
        flags = ["-Wl,--no-as-needed", str(libraries[0])]
    fine(program(source, *(["-std=c++17"] if source.endswith("pp") else []), *flags))


def test_program_that_replaces_plain_operators() -> None:
    # Sized, nothrow and array forms end in the program's own.
    fine(program("operators.cpp", "-std=c++17", "-DREPLACED"))
