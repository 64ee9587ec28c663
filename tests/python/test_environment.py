"""What the environment says: the lines of ``rtmalloc env``, and the switch that keeps rtmalloc out on every route."""

from __future__ import annotations

import os
import sys

import pytest

from tests.python.programs import ALL, ARRIVING, LIBRARY, answer, run, run_code, run_rtmalloc, succeed

# ---- the switch


def test_switch_keeps_rtmalloc_out() -> None:
    assert answer(run_code(ARRIVING, "launcher", env={"RTMALLOC": "0"})) == []


PRELOADED = "grep -c librtmalloc /proc/self/maps; echo $LD_PRELOAD"


@pytest.mark.parametrize(
    ("given", "left"),
    [("{}", ""), ("libm.so.6:{}", "libm.so.6:"), ("{} libm.so.6", "libm.so.6"), ("{}:{}", "")],
    ids=["alone", "behind", "before", "twice"],
)
def test_switch_holds_for_a_preload_set_by_hand(given: str, left: str) -> None:
    # The routes of ENV in a Dockerfile and of a unit file: the library takes itself out, and the program starts anew.
    env = {"LD_PRELOAD": given.format(LIBRARY, LIBRARY), "RTMALLOC": "0"}
    assert run(["sh", "-c", PRELOADED], env).stdout == f"0\n{left}\n"
    finished = run(["sh", "-c", 'echo "$0 $*"; exit 7', "a b", "c"], env)
    assert (finished.returncode, finished.stdout, finished.stderr) == (7, "a b c\n", "")
    assert answer(run([sys.executable, "-c", ARRIVING], env)) == []
    code = "import json, rtmalloc, sys; rtmalloc.install(); print(json.dumps([sys.orig_argv, rtmalloc.status().route]))"
    assert answer(run([sys.executable, "-c", code, "x y"], env)) == [[sys.executable, "-c", code, "x y"], "none"]


def test_switch_where_a_program_cannot_start_anew() -> None:
    # By `ld.so PROGRAM` there is no way to start the same again: malloc stays ours, Python's domains do not.
    loader = next(
        path for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if os.path.exists(path)
    )
    env = {"LD_PRELOAD": str(LIBRARY), "RTMALLOC": "0"}
    assert int(run([loader, "/bin/sh", "-c", PRELOADED], env).stdout.splitlines()[0]) == 0, "its children are without"
    assert str(LIBRARY) in run([loader, "/bin/cat", "/proc/self/maps"], env).stdout
    finished = run([loader, os.path.realpath(sys.executable), "-c", ARRIVING], env)
    assert finished.returncode or answer(finished) == ["raw"], finished.stderr


def test_another_value_of_the_switch_changes_nothing() -> None:
    env = {"LD_PRELOAD": str(LIBRARY), "RTMALLOC": "1"}
    assert answer(run([sys.executable, "-c", ARRIVING], env)) == ALL


# ---- rtmalloc env


def test_env_for_the_shell_keeps_what_is_there() -> None:
    lines = succeed(run_rtmalloc("env", "--options", "dirty_decay_ms=1000"))
    code = "import os, json; print(json.dumps([os.environ['LD_PRELOAD'], os.environ['RTMALLOC_OPTIONS']]))"
    finished = run(["sh", "-c", f'{lines}\nexec "{sys.executable}" -c "{code}"'], {"LD_PRELOAD": "libm.so.6"})
    assert answer(finished) == [f"{LIBRARY}:libm.so.6", "background_thread=1,dirty_decay_ms=1000"]


@pytest.mark.parametrize("before", ["", "libm.so.6", f"libm.so.6 {LIBRARY}", f"{LIBRARY}:libm.so.6"])
def test_env_twice_lists_the_library_once(before: str) -> None:
    command = f'eval "$({sys.executable} -m rtmalloc env)"\n'
    shown = succeed(run(["sh", "-c", command + command + 'echo "$LD_PRELOAD"'], {"LD_PRELOAD": before}))
    entries = shown.strip().replace(" ", ":").split(":")
    assert entries.count(str(LIBRARY)) == 1 and entries.count("libm.so.6") == int("libm" in before)


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("docker", f'ENV LD_PRELOAD="{LIBRARY}"'),
        ("systemd", f'Environment="LD_PRELOAD={LIBRARY}"'),
        ("gunicorn", f'LD_PRELOAD={LIBRARY} RTMALLOC_OPTIONS=background_thread=1 gunicorn "$@"'),
        ("celery", f'LD_PRELOAD={LIBRARY} RTMALLOC_OPTIONS=background_thread=1 celery "$@"'),
        ("dask", f'      LD_PRELOAD: "{LIBRARY}"'),
    ],
)
def test_env_formats(format: str, line: str) -> None:
    assert line in succeed(run_rtmalloc("env", "--format", format)).splitlines()


def test_env_refuses_a_wrong_option() -> None:
    finished = run_rtmalloc("env", "--options", "dirty_decay_ms=soon")
    assert finished.returncode == 1
    assert finished.stderr == "rtmalloc: RTMALLOC_OPTIONS: 'dirty_decay_ms=soon': the value is no whole number\n"
