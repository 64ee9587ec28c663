"""Huge pages: only behind full segments that grow in a row, never in a small program; gone when memory goes back."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .building import PLAIN, driver, environment_of, preloaded, run

MIB = 1 << 20
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
needs_huge_pages = pytest.mark.skipif(
    not THP.exists() or "[never]" in THP.read_text(), reason="this kernel gives no transparent huge pages"
)


def dense(mib: int, options: str = "", file: str = "", prefix: tuple[str, ...] = ()) -> list[int]:
    """KiB: huge pages when grown and after giving back, what the cgroup counts then, resident.

    Huge pages count as quick unless `options` say otherwise: here it is not the machine that is tested.
    """
    options = f"huge_page_us=0,{options}".rstrip(",")
    command: list[str | Path] = [*prefix, driver("dense", PLAIN), str(mib), *([file] if file else [])]
    done = run(command, environment=environment_of(PLAIN, options))
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("options", ["", "huge_pages=0", "populate_kib=2048"])
def test_an_empty_python_has_none(options: str) -> None:
    code = "print(sum(int(l.split()[1]) for l in open('/proc/self/smaps') if l.startswith('AnonHugePages')))"
    done = run([sys.executable, "-c", code], environment=preloaded(options))
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


@needs_huge_pages
def test_only_a_dense_heap_has_them() -> None:
    assert dense(24)[0] == 0, "too small to count as dense"
    assert dense(200, "huge_pages=-1")[0] == 0
    grown, after, _, _ = dense(200)
    assert grown > 100 * 1024
    assert after == 0, "what was given back in part is no huge page any more"
    assert dense(24, "huge_pages=1")[0] > 10 * 1024


@needs_huge_pages
def test_slow_huge_pages_are_left_alone() -> None:
    # No huge page is ready within 1 us: those that were tried are all, and pauses of 64, 128, ... MiB follow them.
    assert 0 < dense(400, "huge_page_us=1")[0] <= 4 * 2048


def test_blocks_that_nobody_touches_stay_untouched() -> None:
    # Even where every huge page counts as quick, finding that out may make only few of them resident.
    code = (
        "import ctypes; libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p\n"
        "resident = lambda: int(open('/proc/self/statm').read().split()[1]) * 4 // 1024\n"
        "for _ in range(64): ctypes.memset(libc.malloc(1 << 20), 1, 1 << 20)\n"
        "before = resident()\n"
        "for _ in range(400): libc.malloc(ctypes.c_size_t(1 << 20))\n"
        "print(resident() - before)"
    )
    done = run([sys.executable, "-c", code], environment=preloaded("huge_page_us=1000000"))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 8 * 2 + 1


@needs_huge_pages
def test_a_limit_maps_segments_one_by_one() -> None:
    # RLIMIT_AS: other mappings, the same rule.
    grown, after, _, resident = dense(200, prefix=("prlimit", f"--as={1500 * MIB}"))
    assert grown > 100 * 1024
    assert after == 0
    assert resident < 40 * 1024


@pytest.mark.parametrize("kib", [64, 2048])
def test_populate_fills_in_ahead(kib: int) -> None:
    # The last segment is resident beyond what is used of it, and goes back like the rest.
    _, _, _, resident = dense(200, f"populate_kib={kib},huge_pages=-1")
    assert resident < 40 * 1024


@pytest.fixture
def usage() -> Iterator[tuple[Path, Path]]:
    """A cgroup that counts memory: its cgroup.procs, and the file with its bytes."""
    name = f"rtmalloc-huge-{os.getpid()}"
    for root, file in (("/sys/fs/cgroup", "memory.current"), ("/sys/fs/cgroup/memory", "memory.usage_in_bytes")):
        directory = Path(root) / name
        try:
            directory.mkdir()
        except OSError:
            continue
        try:
            if (directory / file).exists():
                yield directory / "cgroup.procs", directory / file
                return
        finally:
            with suppress(OSError):
                directory.rmdir()
    pytest.skip("no cgroup that counts memory can be made here")


@needs_huge_pages
def test_the_machine_gets_it_back(usage: tuple[Path, Path]) -> None:
    # Not only RSS: a huge page of which parts were discarded would stay with the cgroup as a whole.
    join, file = usage
    shell = shutil.which("sh")
    assert shell is not None
    prefix = (shell, "-c", f'echo $$ > {join}; exec "$@"', "sh")
    grown, _, counted, resident = dense(200, file=str(file), prefix=prefix)
    assert grown > 100 * 1024
    assert resident < 40 * 1024
    assert counted < 40 * 1024, f"{counted} KiB are still the cgroup's"
