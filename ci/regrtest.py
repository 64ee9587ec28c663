"""CPython's own regression tests with the preload library, against the same tests without it.

    ci/regrtest.py                                   every CPython from 3.10 on that is found here
    ci/regrtest.py --python ~/.pyenv/versions/3.12.1/bin/python3 --tests "test_gc test_ctypes"

A test file runs with the launcher's environment first. What fails there runs again, without and with the library: a
test that fails with it every time and not without it is ours, unless EXCUSED says why not. Exit status 1 if there is
one. A finished file is written to --out and not run again (delete the folder for that).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rtmalloc.launcher import launch  # noqa: E402  # from the checkout
from tests.python.interpreters import interpreters  # noqa: E402

TESTS = """
    test_builtin test_bool test_long test_float test_complex test_bytes test_unicode test_str test_tuple test_list
    test_dict test_set test_slice test_range test_iter test_memoryview test_memoryio test_buffer test_array
    test_struct test_descr test_class test_exceptions test_generators test_coroutines test_weakref test_weakset
    test_copy test_collections test_deque test_functools test_itertools test_re test_string test_io test_mmap
    test_json test_pickle test_marshal test_zlib test_bz2 test_lzma test_hashlib test_decimal test_xml_etree
    test_xml_etree_c test_sqlite test_sqlite3 test_sys test_gc test_tracemalloc test_faulthandler test_atexit
    test_capi test_embed test_ctypes test_thread test_threading test_threading_local test_threadsignals test_queue
    test_context test_fork1 test_subprocess test_concurrent_futures test_asyncio test__xxsubinterpreters
    test_interpreters test_multiprocessing_main_handling test_multiprocessing_by_fork test_multiprocessing_by_spawn
    test_multiprocessing_by_forkserver test_os test_posix test_signal test_socket test_selectors
"""

EXCUSED = {
    "test_sys.*test_debugmallocstats": "asks pymalloc to print its statistics, and there is no pymalloc",
    "test_sys.*test_getallocatedblocks": "asks pymalloc for the number of its blocks, and there is no pymalloc",
    "test_shutdown_deadlock_pickle": "cpython#125451, mended in 3.12.8 and 3.13.1: two threads wait for each other",
    "test_pass_fds_redirected": "lists all descriptors of a child, whose background thread watches pressure by one, 64",
    "test_main_thread_after_fork": "os.fork() warns of every thread; ours ends before a fork, not always in time",
}
"""By a part of a test's name (``*`` stands for anything), why it may fail with the library."""

MULTIPROCESSING = """import unittest
from test import _test_multiprocessing
try:
    _test_multiprocessing.install_tests_in_module_dict(globals(), {method!r}, only_type="processes")
except TypeError:  # before 3.12
    _test_multiprocessing.install_tests_in_module_dict(globals(), {method!r})
if __name__ == "__main__":
    unittest.main()
"""
"""Files of our own, because distributions often leave out those that run these tests."""


def environment(library: bool, folder: Path) -> dict[str, str]:
    """The variables for a run: with the library those that the launcher sets, without it none of ours."""
    ours = ("LD_PRELOAD", "PYTHONMALLOC", "PYTHONPATH", "RTMALLOC", launch.MARKER, "RTMALLOC_OPTIONS")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    env["TMPDIR"] = str(folder)
    return launch.environment(env) if library else env


class Suite:
    """The test files of one interpreter."""

    def __init__(self, python: Path, seconds: int, folder: Path) -> None:
        """Make the files that are ours; ``seconds`` is the limit for one test file."""
        self.python = python
        self.seconds = seconds
        self.folder = folder
        code = "import test, sys; print(test.__path__[0], '%d.%d.%d' % sys.version_info[:3])"
        asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        self.shipped, self.version = Path(asked[0]), asked[1]
        self.made = folder / "made"
        self.made.mkdir(parents=True, exist_ok=True)
        for method in ("fork", "spawn", "forkserver"):
            (self.made / f"test_multiprocessing_by_{method}.py").write_text(MULTIPROCESSING.format(method=method))

    def has(self, test: str) -> bool:
        """Whether the interpreter ships a test file, or what one of ours needs."""
        needed = "_test_multiprocessing" if self.is_ours(test) else test
        return (self.shipped / f"{needed}.py").exists() or (self.shipped / needed).is_dir()

    def is_ours(self, test: str) -> bool:
        """Whether a test file is one that was made here."""
        return (self.made / f"{test}.py").exists()

    def failures(self, test: str, library: bool) -> set[str]:
        """The tests of a file that fail; the file's own name when it ends in another way (a crash, a time-out)."""
        report = self.folder / f"{test}.xml"
        report.unlink(missing_ok=True)
        where: list[str | Path] = ["--testdir", self.made] if self.is_ours(test) else []
        command: list[str | Path] = [
            self.python,
            "-m",
            "test",
            "-j1",
            "--timeout",
            str(self.seconds),
            "--junit-xml",
            report,
            *where,
        ]
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            finished = subprocess.run(
                [*command, test],
                env=environment(library, Path(scratch)),
                cwd=scratch,
                capture_output=True,
                text=True,
                check=False,
                errors="replace",
                timeout=self.seconds * 10,
            )
        said = finished.stdout + finished.stderr
        (self.folder / f"{test}.{'library' if library else 'plain'}.log").write_text(said)
        failed = failed_in(report) if report.exists() else set()
        if finished.returncode and not failed and "no tests ran" not in finished.stdout.lower():
            # The stacks that a time-out prints tell which tests were running.
            return {f"{test}: {name}" for name in re.findall(r" in (test_\w+)$", said, re.MULTILINE)} - {
                f"{test}: test_func"
            } or {test}
        return failed


def failed_in(report: Path) -> set[str]:
    """The names of the test cases that a JUnit report calls failed."""
    names = set()
    for case in xml.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            names.add(case.get("name", "?"))
    return names


def excuse(name: str) -> str | None:
    """Why a test may fail with the library, or None."""
    for pattern, reason in EXCUSED.items():
        if all(part in name for part in pattern.split("*")):
            return reason
    return None


def judge(suite: Suite, test: str) -> dict[str, str]:
    """Run a test file; what failed with the library, with a verdict: ``ours``, ``not ours: …`` or ``excused: …``."""
    failed = suite.failures(test, library=True)
    if not failed:
        return {}
    verdicts = {}
    if unexcused := {name for name in failed if not excuse(name)}:
        without = suite.failures(test, library=False)
        again = suite.failures(test, library=True) if unexcused - without else set()
    for name in failed:
        if reason := excuse(name):
            verdicts[name] = f"excused: {reason}"
        elif name in without:
            verdicts[name] = "not ours: fails without the library too"
        elif name not in again:
            verdicts[name] = "not ours: did not fail again with the library"
        else:
            verdicts[name] = "ours"
    return verdicts


def show(version: str, results: Mapping[str, Mapping[str, str]], absent: list[str]) -> bool:
    """Print what one interpreter found; whether nothing is ours."""
    bad = {name: verdict for verdicts in results.values() for name, verdict in verdicts.items()}
    print(f"CPython {version}: {len(results)} test files, {len(bad)} tests failed with the library", flush=True)
    for name, verdict in sorted(bad.items()):
        print(f"  {name}: {verdict}")
    if absent:
        print(f"  not shipped: {' '.join(absent)}")
    return "ours" not in bad.values()


def main() -> None:
    """Run the files that have not been run, then show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, action="append", help="interpreter; may be given more than once")
    parser.add_argument("--tests", default=TESTS, help="test files, with blanks between")
    parser.add_argument("--timeout", type=int, default=240, metavar="SECONDS", help="for one test file")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "regrtest", help="folder for logs and results")
    arguments = parser.parse_args()
    found = arguments.python or [*interpreters().values()]
    if not found:
        sys.exit("ci/regrtest.py: no CPython 3.10 or later in PATH or under ~/.pyenv/versions")
    clean = True
    for python in found:
        suite = Suite(
            Path(os.path.abspath(python)), arguments.timeout, arguments.out.resolve() / python.parents[1].name
        )
        done = suite.folder / "results.json"
        results: dict[str, dict[str, str]] = json.loads(done.read_text()) if done.exists() else {}
        wanted = [test for test in arguments.tests.split() if suite.has(test)]
        for test in wanted:
            if test not in results:
                results[test] = judge(suite, test)
                done.write_text(json.dumps(results, indent=1))
        absent = [test for test in arguments.tests.split() if test not in wanted]
        clean &= show(suite.version, {test: results[test] for test in wanted}, absent)
    sys.exit(not clean)


if __name__ == "__main__":
    main()
