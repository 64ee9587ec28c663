"""A program that makes no call any more gives its memory back, by a thread that comes and goes by itself."""

from __future__ import annotations

import os

import pytest

from tests.core.building import PLAIN, driver, preloaded, run

MIB = 1024


def idle(*words: str, options: str = "") -> dict[str, int]:
    """What the driver says of itself: numbers by name."""
    done = run([driver("idle", PLAIN), *words], environment=preloaded(options), seconds=120)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return {name: int(value) for name, value in (line.split() for line in done.stdout.splitlines())}


@pytest.mark.parametrize("percent", ["2", "10"])
def test_a_burst_comes_back_without_a_call(percent: str) -> None:
    seen = idle("burst", "100", percent, "5")
    # (2 MiB of it is what the program, the C library and the table of blocks have beside the bound.)
    own = 3 * MIB
    assert seen["last_kib"] <= 1.05 * seen["bound_kib"] + 2 * MIB + own, seen
    assert (seen["most_threads"], seen["last_threads"]) == (2, 1), seen


def test_one_large_block_comes_back() -> None:
    seen = idle("large", "100", "3")
    assert seen["last_kib"] < 8 * MIB, seen
    assert seen["last_threads"] == 1, seen


@pytest.mark.parametrize("words", [("burst", "6", "2", "1"), ("large", "6", "1")], ids="-".join)
def test_a_small_program_never_has_a_second_thread(words: tuple[str, ...]) -> None:
    assert idle(*words)["most_threads"] == 1


def test_never_means_never() -> None:
    assert idle("burst", "100", "2", "1", options="background_thread=0")["most_threads"] == 1


def test_it_starts_inside_the_c_library_s_locks() -> None:
    # Its free of a dead thread's storage is under the lock that pthread_create wants.
    idle("join", "4", "2")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_does_not_keep_rights_that_the_program_gives_up() -> None:
    seen = idle("identity")
    assert (seen["threads_before"], seen["threads_after"], seen["uid"]) == (2, 1, 1000)


def test_a_program_that_locks_itself_in_gets_no_thread() -> None:
    seen = idle("sandbox")
    assert (seen["threads_before"], seen["threads_after"], seen["threads_later"]) == (2, 1, 1)


# ---- in odd company


def companion(mode: str) -> dict[str, int]:
    """What the driver prints: numbers by name. It has waited for nothing that is not there."""
    done = run([driver("companion", PLAIN), mode], environment=preloaded(""), seconds=40)
    if done.returncode == 77:
        pytest.skip("the kernel refuses the filter, or the priority")
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return {name: int(value) for name, value in (line.split() for line in done.stdout.splitlines())}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_copy_of_the_process_does_not_wait_for_a_thread_that_it_has_not() -> None:
    assert companion("clone") == {"threads": 2, "bad": 0}


def test_a_child_of_vfork_starts_none() -> None:
    assert companion("vfork") == {"bad_forks": 0}


def test_what_a_child_of_vfork_gives_up_is_the_childs() -> None:
    assert companion("locks")["resident_kib"] < 16 * MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="a filter without no_new_privs")
def test_forks_do_not_wait_for_a_thread_that_was_killed() -> None:
    assert companion("killed") == {"threads": 2, "bad_forks": 0}


@pytest.mark.skipif(os.geteuid() != 0, reason="a filter without no_new_privs")
def test_a_thread_behind_a_filter_of_its_own_starts_none() -> None:
    assert companion("filter") == {}


@pytest.mark.skipif(os.geteuid() != 0 or len(os.sched_getaffinity(0)) == 1, reason="priorities and two CPUs")
def test_it_has_no_priority_and_no_place_of_its_own() -> None:
    seen = companion("fifo")
    assert seen["policy"] == 0
    assert seen["cpus"] == len(os.sched_getaffinity(0))


def test_large_blocks_alone_are_reason_enough() -> None:
    assert companion("large")["resident_kib"] < 16 * MIB
