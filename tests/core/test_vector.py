"""Many runs go back by one system call: where the kernel takes it, refuses it, or would kill who asks."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from .building import GUARD, PLAIN, Flavour, counters_of, driver, environment_of, run

SELF, PROCESS_MADVISE = -10000, 440


class Range(ctypes.Structure):
    """A struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def kernel_knows() -> bool:
    """Whether process_madvise takes PIDFD_SELF and MADV_DONTNEED here."""
    with mmap.mmap(-1, 4096) as memory:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        ranges = (Range * 1)(Range(address, 4096))
        libc = ctypes.CDLL(None)
        return bool(libc.syscall(PROCESS_MADVISE, SELF, ranges, 1, mmap.MADV_DONTNEED, 0) == 4096)


KNOWS = kernel_knows()


def vector(what: str, way: str, options: str = "vectored=0", flavour: Flavour = PLAIN) -> dict[str, int]:
    """Run the driver; its counters at exit."""
    settings = environment_of(flavour, f"stats_at_exit=1,dirty_decay_ms=-1,{options}")
    done = run([driver("vector", flavour), what, way], environment=settings)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == "fine\n"
    return counters_of(done)


@pytest.mark.parametrize("flavour", [PLAIN, GUARD], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize("what", ["none", "locked"])
def test_scattered_pages_go_back_together(what: str, flavour: Flavour) -> None:
    counters = vector(what, "-", flavour=flavour)
    runs = counters["purge_calls"] + counters["return_calls"]
    assert runs > 3000, counters
    assert (0 < counters["vector_calls"] < runs // 10) if KNOWS else counters["vector_calls"] == 0, counters


def test_never() -> None:
    assert vector("none", "-", "vectored=-1")["vector_calls"] == 0


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("way", ["name", "raw"])
def test_refused_midway(error: str, way: str) -> None:
    # Once more at most: then madvise serves for good.
    before, after = vector("none", "-", "vectored=1"), vector(error, way, "vectored=1")
    assert after["vector_calls"] <= before["vector_calls"] // 3 + 64
    assert after["returned"] > before["returned"] // 2


def test_refused_from_the_start() -> None:
    assert vector("EPERM", "exec", "vectored=1")["vector_calls"] == 0


@pytest.mark.neighbour("seccomp", "a filter that kills on process_madvise")
@pytest.mark.parametrize("way", ["name", "raw", "exec"])
def test_a_filter_that_kills_is_not_met(way: str) -> None:
    # Before a filter that comes late the calls are made.
    assert (vector("kill", way)["vector_calls"] > 0) == (KNOWS and way != "exec")


@pytest.mark.neighbour("seccomp", "a filter that kills on process_madvise and prctl")
@pytest.mark.parametrize("way", ["name", "exec"])
def test_a_filter_that_kills_who_asks_is_not_asked(way: str) -> None:
    vector("strict", way)


@pytest.mark.parametrize("way", ["name", "exec"])
def test_calloc_leaves_what_is_untouched_without_mincore(way: str) -> None:
    vector("refuse-mincore", way)
