"""The statistics file: who writes it, who reads it, and that nobody takes an old one for a new one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import rtmalloc
from rtmalloc import _core
from rtmalloc.observe import process, stats_reader
from tests.python.programs import SOURCE, answer, clean_environment, run, run_code, run_rtmalloc, succeed

WAIT = "print(flush=True); import sys; sys.stdin.read()"
"""The end of a program that stays until its standard input ends."""


@contextmanager
def running(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Iterator[tuple[int, str]]:
    """A program, once it has printed its first line: its process id, and that line."""
    process = subprocess.Popen(
        command,
        env=clean_environment(env),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().strip()
    finally:
        process.communicate("", timeout=30)


def launched(code: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "rtmalloc", "-c", code)


@pytest.fixture
def runtime(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def hooked(tmp_path: Path) -> tuple[str, ...]:
    """An interpreter whose site-packages hold rtmalloc.pth, as those do in which rtmalloc is installed."""
    folder = tmp_path / "hooked"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    pth = next(path for path in (SOURCE / "rtmalloc.pth", CHECKOUT / "rtmalloc.pth") if path.exists())
    (site / "rtmalloc.pth").write_text(f"{SOURCE}\n{pth.read_text()}")
    return (str(folder / "bin" / "python"), "-m", "rtmalloc")


CHECKOUT = Path(__file__).resolve().parents[2]


# ---- writing


def test_another_process_reads_the_file(runtime: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import rtmalloc\nkept = [bytes(1000) for _ in range(10000)]\nprint(rtmalloc.stats_file(every=0.1), end='')\n"
    )
    with running(*launched(code + WAIT), env=runtime) as (pid, line):
        path = Path(line)
        assert path == tmp_path / "rtmalloc" / f"{pid}.json"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        snapshot = json.loads(succeed(run_rtmalloc("stats", str(pid), "--json", env=runtime)))
        assert snapshot["allocated"] > (0 if _core.is_free_threaded() else 10_000_000)
        assert "allocated" in succeed(run_rtmalloc("stats", str(pid), env=runtime))
        fields = json.loads(path.read_text())
        assert (fields["pid"], fields["start"]) == (pid, process.start_ticks(pid))
        first = path.stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while path.stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not path.exists(), "it goes with its process"


def test_a_forked_child_writes_its_own(tmp_path: Path) -> None:
    code = f"""
import os, rtmalloc, time
rtmalloc.stats_file({str(tmp_path)!r} + '/{{pid}}.json', every=0.1)
pid = os.fork()
if pid == 0:
    time.sleep(1)
    os._exit(0 if os.path.exists({str(tmp_path)!r} + f'/{{os.getpid()}}.json') else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    succeed(run_code(code, "launcher"))


def test_a_child_s_exit_leaves_its_parent_s_file(tmp_path: Path) -> None:
    code = f"""
import os, rtmalloc, sys
path = rtmalloc.stats_file({str(tmp_path)!r} + '/all.json')
pid = os.fork()
if pid == 0: sys.exit(0)
os.waitpid(pid, 0)
assert path.exists()
"""
    succeed(run_code(code, "launcher"))
    assert not (tmp_path / "all.json").exists()


@pytest.mark.parametrize("every", [0, 0.05, 1e9, float("nan")])
def test_interval_out_of_range(every: float) -> None:
    with pytest.raises(ValueError, match=r"every is 0\.1 to 86400 seconds"):
        rtmalloc.stats_file("/tmp/x", every=every)


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rtmalloc"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(PermissionError, match="is not a directory of this user alone"):
        rtmalloc.stats_file()
    folder.rmdir()
    folder.symlink_to("/tmp")
    with pytest.raises(PermissionError):
        rtmalloc.stats_file()


def test_files_of_processes_that_were_killed_go(runtime: dict[str, str], tmp_path: Path) -> None:
    code = "import os, rtmalloc, signal; rtmalloc.stats_file(); os.kill(os.getpid(), signal.SIGKILL)"
    assert run_code(code, "launcher", env=runtime).returncode == -9
    (left,) = (tmp_path / "rtmalloc").iterdir()
    # A number that is in use again, by somebody who writes nothing.
    reused = left.with_name(f"{os.getpid()}.json")
    reused.write_text(left.read_text().replace(left.stem, str(os.getpid())))
    foreign = left.with_name("notes.json")
    foreign.write_text("{}")
    succeed(run_code("import rtmalloc; rtmalloc.stats_file()", "launcher", env=runtime))
    assert list((tmp_path / "rtmalloc").iterdir()) == [foreign]


# ---- the environment


def test_install_begins_the_file_when_the_environment_says_so(tmp_path: Path) -> None:
    code = "import os; print(os.path.exists(os.environ['RTMALLOC_STATS_FILE'].replace('{pid}', str(os.getpid()))))"
    assert succeed(run_code(code, "install", env={"RTMALLOC_STATS_FILE": str(tmp_path / "s-{pid}.json")})) == "True\n"
    assert succeed(run_code(code, "plain", env={"RTMALLOC_STATS_FILE": str(tmp_path / "s-{pid}.json")})) == "False\n"


def test_a_launched_program_needs_no_change(hooked: tuple[str, ...], runtime: dict[str, str]) -> None:
    env = {**runtime, "RTMALLOC_STATS_FILE": "1"}
    with running(*hooked, "-c", f"kept = [bytes(1000) for _ in range(10000)]\n{WAIT}", env=env) as (pid, _):
        # It is read wherever the reader's own variables point.
        for reader in (runtime, {"XDG_RUNTIME_DIR": ""}):
            fields = json.loads(succeed(run_rtmalloc("stats", str(pid), "--json", env=reader)))
            assert fields["pid"] != pid and fields["resident"] > 0
    finished = run([*hooked, "-c", "import sys; print('rtmalloc.observe.stats_file' in sys.modules)"], runtime)
    assert succeed(finished) == "False\n", "without the variable nothing is imported"


def test_the_environment_says_where(hooked: tuple[str, ...], tmp_path: Path) -> None:
    # By a path that is relative to where the program was started.
    with running(*hooked, "-c", WAIT, env={"RTMALLOC_STATS_FILE": "mine-{pid}.json"}, cwd=tmp_path) as (pid, _):
        assert (tmp_path / f"mine-{pid}.json").exists()
        assert "allocated" in succeed(run_rtmalloc("stats", str(pid)))


def test_forked_workers_of_a_launched_program(hooked: tuple[str, ...], runtime: dict[str, str], tmp_path: Path) -> None:
    code = f"import os\nif os.fork() == 0: import time; time.sleep(60)\n{WAIT}"
    with running(*hooked, "-c", code, env={**runtime, "RTMALLOC_STATS_FILE": "1"}) as (pid, _):
        (child,) = (int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        deadline = time.monotonic() + 20
        while not (tmp_path / "rtmalloc" / f"{child}.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        succeed(run_rtmalloc("stats", str(child), env=runtime))
        os.kill(child, 9)


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_a_file_that_cannot_be_written_is_a_warning(route: str, hooked: tuple[str, ...]) -> None:
    env = {"RTMALLOC_STATS_FILE": "/proc/none/x.json"}
    code = "print('served')"
    finished = run([*hooked, "-c", code], env) if route == "launcher" else run_code(code, "install", env=env)
    assert succeed(finished) == "served\n"
    said = "RuntimeWarning: rtmalloc writes no statistics: RTMALLOC_STATS_FILE: [Errno 2] No such file or directory"
    assert said in finished.stderr
    with pytest.raises(OSError, match="No such file"):
        rtmalloc.stats_file("/proc/none/x.json")


# ---- reading


def test_reading_a_process_that_writes_none(runtime: dict[str, str]) -> None:
    with running("sh", "-c", "echo; read x") as (pid, _):
        finished = run_rtmalloc("stats", str(pid), env=runtime)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"rtmalloc: process {pid} does not run on rtmalloc, and writes no statistics (")
    with running(*launched(WAIT)) as (pid, _):
        finished = run_rtmalloc("stats", str(pid), env=runtime)
    said = finished.stderr
    assert said.startswith(
        f"rtmalloc: process {pid} runs on the preload library, and writes no statistics (looked for "
    )
    assert f"{runtime['XDG_RUNTIME_DIR']}/rtmalloc/{pid}.json" in said
    assert "RTMALLOC_STATS_FILE=1 in its environment" in said and said.count("\n") == 1
    finished = run_rtmalloc("stats", str(pid), env=runtime)
    assert finished.stderr == f"rtmalloc: there is no process {pid}\n"


def test_a_number_that_is_used_again(runtime: dict[str, str], tmp_path: Path) -> None:
    with running("sh", "-c", "echo; read x") as (pid, _):
        (tmp_path / "rtmalloc").mkdir(mode=0o700)
        text = json.dumps({**json.loads(rtmalloc.stats().to_json()), "pid": pid})
        (tmp_path / "rtmalloc" / f"{pid}.json").write_text(text)
        finished = run_rtmalloc("stats", str(pid), env=runtime)
    assert finished.returncode == 1 and "which is damaged or left from an earlier process" in finished.stderr


def test_reading_what_is_no_statistics(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for text in ("{", "[]", "{}"):
        file.write_text(text)
        with pytest.raises(rtmalloc.StatsFileError, match=r"x\.json, which is damaged or left from"):
            stats_reader.read(os.getpid(), str(file))


def test_another_user_s_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> dict[str, str]:
        raise PermissionError

    monkeypatch.setattr(process, "environment", refuse)
    with pytest.raises(rtmalloc.StatsFileError, match=f"belongs to user {os.getuid()}: ask as that user or as root"):
        stats_reader.read(os.getpid())


def test_a_process_in_a_container(tmp_path: Path) -> None:
    # Another number and another /tmp, as in a container: the reader outside finds both.
    if sys.executable.startswith("/tmp/"):
        pytest.skip("the interpreter lies where another folder shall be")
    folder = tmp_path / "inside"
    folder.mkdir()
    inside = f'mount --bind {folder} /tmp && exec {sys.executable} -m rtmalloc -c "{CONTAINED}"'
    command = ("unshare", "--pid", "--mount", "--fork", "--mount-proc", "sh", "-c", inside)
    if subprocess.run(
        ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "true"], capture_output=True
    ).returncode:
        pytest.skip("no namespaces here")
    with running(*command, env={"XDG_RUNTIME_DIR": "", "TMPDIR": "/tmp"}) as (outer, line):
        (pid,) = (int(n) for n in Path(f"/proc/{outer}/task/{outer}/children").read_text().split())
        assert line == f"/tmp/rtmalloc-{os.getuid()}/1.json" and process.number_inside(pid) == 1
        assert "allocated" in succeed(run_rtmalloc("stats", str(pid)))


CONTAINED = "import rtmalloc, sys; print(rtmalloc.stats_file(), flush=True); sys.stdin.read()"


# ---- what the kernel tells


def test_start_ticks() -> None:
    assert process.start_ticks() == process.start_ticks(os.getpid())
    assert process.start_ticks(2**22 + 1) is None
    code = "import os, rtmalloc.observe.process as p; print([p.start_ticks(), p.start_ticks(os.getppid())])"
    script = f"import ctypes, subprocess, sys; ctypes.CDLL(None).prctl(15, b'a) b (c)'); {code}"
    own, parent = answer(run([sys.executable, "-c", script]))
    assert parent == process.start_ticks() and own >= parent
