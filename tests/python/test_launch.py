"""The launcher: a program runs exactly as without it, but on rtmalloc; what cannot be is told in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtmalloc.launcher import launch
from tests.python.programs import (
    ALL,
    ARRIVING,
    LIBRARY,
    SOURCE,
    answer,
    clean_environment,
    run,
    run_code,
    run_rtmalloc,
    succeed,
)

SHOW = (
    "import sys, os, json, rtmalloc; print(json.dumps([sys.argv, sys.flags.utf8_mode, sys.path[0], "
    "rtmalloc.status().route, sorted(rtmalloc.status().domains)]))"
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "show.py"
    path.write_text(SHOW)
    return path


def test_script_with_arguments(script: Path) -> None:
    argv, _, path, route, domains = answer(run_rtmalloc(script, "-x", "run", "--", "ü"))
    assert argv == [str(script), "-x", "run", "--", "ü"]
    assert path == str(script.parent)
    assert (route, domains) == ("preload", ALL)


def test_module_with_arguments(script: Path) -> None:
    argv, _, path, route, _ = answer(run_rtmalloc("-m", "show", "-m", "b", cwd=script.parent))
    assert argv == [str(script), "-m", "b"]
    assert os.path.realpath(path) == os.path.realpath(script.parent)
    assert route == "preload"


def test_code_with_arguments() -> None:
    argv, _, path, route, _ = answer(run_rtmalloc("-c", SHOW, "-c", "1"))
    assert argv == ["-c", "-c", "1"]
    assert (path, route) == ("", "preload")


def test_standard_input() -> None:
    assert answer(run_rtmalloc("-", "a", text=SHOW))[0] == ["-", "a"]


@pytest.mark.parametrize("flags", [["-X", "utf8"], ["-Xutf8", "-W", "error"]], ids=" ".join)
def test_interpreter_options_before_us_are_kept(flags: list[str]) -> None:
    assert answer(run_rtmalloc("-c", SHOW, flags=flags))[1] == 1


def test_interpreter_options_after_us_are_the_programs() -> None:
    assert answer(run_rtmalloc("-X", "utf8", "-c", SHOW))[1] == 1


@pytest.mark.parametrize(
    ("original", "count", "flags"),
    [
        (["python", "-m", "rtmalloc", "a.py", "1"], 2, []),
        (["python", "-u", "-X", "dev", "-m", "rtmalloc", "-c", "1"], 2, ["-u", "-X", "dev"]),
        (["python", "-Im", "rtmalloc", "a.py"], 1, ["-I"]),
        (["python", "-mrtmalloc", "a.py"], 1, []),
        (["python", "-Bmrtmalloc", "a.py"], 1, ["-B"]),
        (["python", "/usr/bin/rtmalloc", "a.py"], 1, []),
        (["python", "-I", "/usr/bin/rtmalloc", "a.py"], 1, ["-I"]),
        (["python"], 0, []),
    ],
)
def test_interpreter_flags(original: list[str], count: int, flags: list[str]) -> None:
    arguments = original[len(original) - count :] if count else []
    assert launch.interpreter_flags(original, arguments) == flags


def test_isolated_mode_needs_no_environment(script: Path) -> None:
    # -I ignores PYTHONPATH, so rtmalloc itself must be found another way; LD_PRELOAD still works.
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {SHOW}"
    env = {"LD_PRELOAD": str(LIBRARY)}
    assert answer(run([sys.executable, "-I", "-c", code], env))[3:] == ["preload", ALL]


def test_exit_status_is_the_programs() -> None:
    assert run_rtmalloc("-c", "import sys; sys.exit(37)").returncode == 37


def test_signal_ends_the_program_itself() -> None:
    assert run_rtmalloc("-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)").returncode == -signal.SIGTERM


def test_process_id_is_kept() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rtmalloc", "-c", "import os; print(os.getpid())"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = process.communicate(timeout=60)
    assert int(out) == process.pid


def test_existing_preload_is_kept_behind_ours() -> None:
    other = "libm.so.6"
    out = answer(
        run_code("import os, json; print(json.dumps(os.environ['LD_PRELOAD']))", "launcher", env={"LD_PRELOAD": other})
    )
    assert out == f"{LIBRARY}:{other}"


def test_preload_value_names_us_once() -> None:
    ours = str(LIBRARY)
    assert launch.preload_value(None) == ours
    assert launch.preload_value(f"a.so {ours}:b.so") == f"{ours}:a.so:b.so"


def test_children_inherit() -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ARRIVING!r}], check=True)"
    assert answer(run_code(code, "launcher")) == ALL


def test_launching_the_launcher_is_no_loop() -> None:
    assert answer(run_rtmalloc("-m", "rtmalloc", "-c", SHOW))[3] == "preload"


def test_loop_is_refused() -> None:
    env = {launch.MARKER: ""}
    code = (
        "import os, sys; from rtmalloc.launcher import launch\n"
        "os.environ[launch.MARKER] = f'{os.getpid()}:5'\n"
        "try: launch.launch_python(['-c', '1'])\n"
        "except launch.LaunchError as error: print(error)"
    )
    assert "would start itself for ever" in succeed(run([sys.executable, "-c", code], env))


def test_missing_script() -> None:
    finished = run_rtmalloc("no_such_script.py")
    assert finished.returncode == 2
    assert finished.stderr.startswith("rtmalloc: no_such_script.py is neither a file nor a command")
    assert finished.stderr.count("\n") == 1


def test_wrong_option() -> None:
    finished = run_rtmalloc("-c", "print('started')", env={"RTMALLOC_OPTIONS": "no_such=1"})
    assert finished.returncode == 1
    assert "\nrtmalloc: RTMALLOC_OPTIONS: there is no option 'no_such'; `rtmalloc options` lists" in finished.stderr
    assert not finished.stdout


def test_missing_library() -> None:
    code = (
        "import rtmalloc.settings as library\n"
        "library.__file__ = '/nowhere/settings.py'\n"
        "import sys; from rtmalloc import cli\n"
        "cli.main(['-c', 'print(1)'])"
    )
    finished = run([sys.executable, "-c", code])
    assert finished.returncode == 1
    assert finished.stderr == (
        "rtmalloc: /nowhere/lib/librtmalloc.so is missing: run `make build`, or install rtmalloc from a wheel\n"
    )


def test_path_that_the_variable_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "library_file", lambda: "/a dir/librtmalloc.so")
    with pytest.raises(launch.LaunchError, match="cannot hold a path with a colon or a space"):
        launch.preload_value(None)


def test_interpreter_too_old() -> None:
    # The same file, told that it runs on another interpreter: the older ones are not everywhere.
    code = (
        "import sys; sys.version_info = (3, 9, 2); sys.version = '3.9.2 (default)'; sys.argv = ['-m']\nimport rtmalloc"
    )
    finished = run([sys.executable, "-c", code])
    assert finished.returncode == 1
    assert finished.stderr == "rtmalloc: needs CPython 3.10 or later, this is cpython 3.9.2\n"


def test_no_extension_for_this_interpreter(tmp_path: Path) -> None:
    shutil.copytree(SOURCE / "rtmalloc", tmp_path / "rtmalloc", ignore=shutil.ignore_patterns("*.so", "core"))
    finished = run([sys.executable, "-m", "rtmalloc", "-c", "1"], {"PYTHONPATH": str(tmp_path)}, tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.startswith("rtmalloc: has no extension module for CPython ")
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["uvicorn", "app:app"], "; a program is started by `rtmalloc run -- uvicorn app:app`"),
        (["env_", "x"], "env_ is neither a file nor a command (did you mean 'env'?)"),
        (["docter"], "docter is neither a file nor a command (did you mean 'doctor'?); `rtmalloc --help` lists"),
        (["stat", "1"], "(did you mean 'stats'?); a program is started by `rtmalloc run -- stat 1`"),
    ],
)
def test_what_was_probably_meant(arguments: list[str], said: str) -> None:
    finished = run_rtmalloc(*arguments)
    assert finished.returncode == 2 and said in finished.stderr and finished.stderr.count("\n") == 1, finished.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats"], "rtmalloc stats: error: the following arguments are required: pid"),
        (["stats", "1", "--jsn"], "rtmalloc stats: error: unrecognized arguments: --jsn (did you mean '--json'?)"),
        (["run", "--no-childen", "--", "true"], "rtmalloc run: error: unrecognized arguments: --no-childen"),
        (["run", "--no-children"], "rtmalloc: run: which program?"),
        (["run", "--profile", "x"], "rtmalloc run: error: which program?"),
        (["profile", "optimize"], "(did you mean 'optimise'?)"),
        (["env", "--format", "dokcer"], "(did you mean 'docker'?)"),
        (["doctor", "extra"], "rtmalloc doctor: error: unrecognized arguments: extra"),
    ],
    ids=" ".join,
)
def test_wrong_usage_shows_the_command_s_own(arguments: list[str], said: str) -> None:
    finished = run_rtmalloc(*arguments)
    assert finished.returncode == 2 and said in finished.stderr, finished.stderr
    usage = [line for line in finished.stderr.splitlines() if line.startswith("usage: ")]
    assert not usage or usage[0].startswith(f"usage: rtmalloc {arguments[0]} ")


def test_nothing_at_all_prints_the_usage() -> None:
    finished = run_rtmalloc()
    assert finished.returncode == 2
    assert "usage: rtmalloc" in finished.stderr


# ---- rtmalloc run


def test_run_any_program() -> None:
    out = succeed(run_rtmalloc("run", "--", "cat", "/proc/self/maps"))
    assert str(LIBRARY) in out


def test_run_passes_arguments_and_status() -> None:
    finished = run_rtmalloc("run", "--", "sh", "-c", 'echo "$1"; exit 9', "sh", "--help")
    assert (finished.returncode, finished.stdout) == (9, "--help\n")


def test_run_without_dashes() -> None:
    assert succeed(run_rtmalloc("run", "echo", "-n", "x")) == "x"


def test_run_missing_program() -> None:
    finished = run_rtmalloc("run", "--", "no-such-program")
    assert (finished.returncode, finished.stderr) == (127, "rtmalloc: there is no program no-such-program\n")


def test_run_what_is_not_executable(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("x")
    finished = run_rtmalloc("run", "--", str(path))
    assert (finished.returncode, finished.stderr) == (126, f"rtmalloc: {path} is not executable\n")


def test_run_nothing() -> None:
    assert run_rtmalloc("run").returncode == 2


def elf(segment: int) -> bytes:
    """The start of a 64-bit ELF file with one program header of type `segment`."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    header[32:40] = (64).to_bytes(8, "little")
    header[54:56] = (56).to_bytes(2, "little")
    header[56:58] = (1).to_bytes(2, "little")
    return bytes(header) + segment.to_bytes(4, "little") + bytes(52)


def test_static_program_is_refused(tmp_path: Path) -> None:
    static, dynamic, text = tmp_path / "static", tmp_path / "dynamic", tmp_path / "text"
    static.write_bytes(elf(segment=1))
    dynamic.write_bytes(elf(segment=3))
    text.write_text("#!/bin/sh\n")
    for path in (static, dynamic, text):
        path.chmod(0o755)
    assert "statically linked" in str(launch.why_not_preloadable(str(static)))
    assert launch.why_not_preloadable(str(dynamic)) is None
    assert launch.why_not_preloadable(str(text)) is None
    assert "statically linked" in run_rtmalloc("run", "--", str(static)).stderr


def test_setuid_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "privileged"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o4755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "setuid" in str(launch.why_not_preloadable(str(path)))


def test_libpath() -> None:
    assert succeed(run_rtmalloc("libpath")) == f"{LIBRARY}\n"


def test_profile_has_its_commands() -> None:
    text = succeed(run_rtmalloc("profile", "--help"))
    assert all(command in text for command in ("merge", "report", "optimise"))


def test_the_launcher_imports_nothing_slow() -> None:
    code = (
        "import sys, json; before = set(sys.modules)\n"
        "import rtmalloc.cli, rtmalloc; rtmalloc.install()\n"
        "slow = {'argparse', 'dataclasses', 'inspect', 'json', 'pathlib', 'typing', 'importlib.resources', 'ctypes'}\n"
        "print('[' + ','.join(sorted(slow & (set(sys.modules) - before))) + ']')"
    )
    # -S: site may import anything that was installed beside us.
    code = code.replace("import sys, json;", "import sys;")
    assert json.loads(succeed(run([sys.executable, "-S", "-c", code]))) == []
