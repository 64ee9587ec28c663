"""Public reports about other allocators, each as a small program that has to end well under this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import DRIVER, compile_cached, preloaded, run

GITHUB = "https://github.com/"
# What was reported, by the case in tests/driver/reports/forks.c and names.cpp that does the same.
FORKS = {
    "child_allocates": "jemalloc/jemalloc/issues/2402",
    "child_frees_others": "jemalloc/jemalloc/issues/2019",
    "child_handler_begins_a_thread": "jemalloc/jemalloc/issues/1805",
    "all_threads_fork": "jemalloc/jemalloc/issues/1641",
    "child_of_a_thread_exits": "microsoft/mimalloc/issues/1198",
    "handlers_allocate": "microsoft/snmalloc/pull/735",
    "handler_joins": "dmtcp/dmtcp/issues/612",
    "grandchildren": "google/tcmalloc/issues/284",
    "daemon_with_threads": "gperftools/gperftools/issues/771",
    "popen_meanwhile": "gperftools/gperftools/issues/904",
    "signal_ends_the_child": "gperftools/gperftools/issues/1109",
    "child_prepares_to_exec": "gperftools/gperftools/issues/1570",
}
NAMES = {
    "inner_names_of_libc": "mjansson/rpmalloc/pull/374",
    "names_of_other_systems": "mjansson/rpmalloc/pull/374",
    "nothrow_delete": "microsoft/mimalloc/pull/551",
    "module_hands_out": "microsoft/mimalloc/issues/846",
    "libc_hands_out": "microsoft/mimalloc/issues/445",
    "over_aligned": "jemalloc/jemalloc/pull/1658",
    "size_is_not_the_blocks": "jemalloc/jemalloc/issues/2013",
    "sized_family": "jemalloc/jemalloc/issues/483",
    "aligned_is_resized": "microsoft/snmalloc/pull/248",
    "refused_arguments": "GrapheneOS/hardened_malloc/pull/370",
    "usable_is_usable": "systemd/systemd/issues/22801",
}


def links(reports: dict[str, str]) -> str:
    """The reports for the table of docs/neighbours.md."""
    places = sorted(set(reports.values()))
    return ", ".join(f"[{p.split('/')[1]} {p.split('/')[3]}]({GITHUB}{p})" for p in places)


def program(name: str) -> Path:
    """One of tests/driver/reports, compiled."""
    source = DRIVER / "reports" / name
    compiler = ["g++", "-std=c++17"] if name.endswith("pp") else ["gcc"]
    command: list[str | Path] = [*compiler, "-O1", "-fno-builtin", "-w", source, "-o", "{out}", "-ldl", "-lpthread"]
    return compile_cached(source.stem, [source], [command])


def fine(name: str, case: str, options: str = "") -> None:
    done = run([program(name), case], environment=preloaded(options), seconds=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", ""), done.returncode


@pytest.mark.neighbour("reports of forks", links(FORKS))
@pytest.mark.parametrize("options", ["", "background_thread=1"], ids=["plain", "background"])
@pytest.mark.parametrize("case", FORKS)
def test_report_of_forks(case: str, options: str) -> None:
    fine("forks.c", case, options)


@pytest.mark.neighbour("reports of names", links(NAMES))
@pytest.mark.parametrize("case", NAMES)
def test_report_of_names(case: str) -> None:
    fine("names.cpp", case)
