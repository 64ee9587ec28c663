"""doctor: each check by itself, in a world made for it, and the command as a whole."""

from __future__ import annotations

import json
import os
import resource
import sys
import sysconfig
import types
from pathlib import Path

import pytest

from rtmalloc import _core
from rtmalloc.doctor import interpreter, launching, machine, settings
from rtmalloc.doctor.examination import CHECKS
from rtmalloc.doctor.finding import NOTE, OK, PROBLEM, Finding
from rtmalloc.launcher import launch
from rtmalloc.size_table import table_compile, table_parse
from tests.python.programs import needs_objects, run_rtmalloc, succeed


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONMALLOC", "RTMALLOC", "RTMALLOC_OPTIONS"):
        monkeypatch.delenv(name, raising=False)


def test_every_check_has_its_test() -> None:
    here = Path(__file__).read_text()
    for check in CHECKS:
        assert f".{check.__name__}()" in here, check.__name__
        assert check.__doc__


def test_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpreter.check_interpreter().level == OK
    monkeypatch.setattr(sys, "implementation", types.SimpleNamespace(name="pypy"))
    assert interpreter.check_interpreter().level == PROBLEM


def test_free_threading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "is_free_threaded", lambda: False)
    assert interpreter.check_free_threading().level == OK
    monkeypatch.setattr(_core, "is_free_threaded", lambda: True)
    assert interpreter.check_free_threading().level == NOTE


@pytest.mark.parametrize(
    ("version", "free", "level"),
    [
        ((3, 13, 9), False, OK),
        ((3, 14, 4), False, NOTE),
        ((3, 14, 5), False, OK),
        ((3, 14, 10), True, NOTE),
        ((3, 15, 2), True, OK),
    ],
)
def test_collector(version: tuple[int, ...], free: bool, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(_core, "is_free_threaded", lambda: free)
    assert interpreter.check_collector().level == level


def test_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.check_library().text.endswith("librtmalloc.so")

    def missing() -> Path:
        raise FileNotFoundError("gone")

    monkeypatch.setattr(settings, "library_path", missing)
    assert settings.check_library().level == PROBLEM


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.check_switch().level == OK
    monkeypatch.setenv("RTMALLOC", "0")
    assert settings.check_switch().level == PROBLEM


def test_the_memory_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTMALLOC_OPTIONS", "memory_limit=64M,memory_limit_hard=1G")
    found = settings.check_memory_limit()
    assert (found.level, found.text) == (OK, "67108864 bytes; requests beyond 1073741824 bytes fail")
    monkeypatch.setenv("RTMALLOC_OPTIONS", "memory_limit=auto")
    monkeypatch.setattr("rtmalloc._core.cgroup_limit", lambda: 800)
    assert settings.check_memory_limit().text == "auto: 700 of the control group's 800 bytes"
    monkeypatch.setattr("rtmalloc._core.cgroup_limit", lambda: 0)
    assert settings.check_memory_limit().level == NOTE
    monkeypatch.setenv("RTMALLOC_OPTIONS", "memory_limit=3X")
    assert settings.check_memory_limit().level == NOTE
    monkeypatch.delenv("RTMALLOC_OPTIONS")
    assert settings.check_memory_limit().text == "none"


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.check_options().text == "RTMALLOC_OPTIONS sets nothing"
    monkeypatch.setenv("RTMALLOC_OPTIONS", "epoch_ms=7")
    assert settings.check_options().text == "RTMALLOC_OPTIONS sets epoch_ms"
    monkeypatch.setenv("RTMALLOC_OPTIONS", "epoch=7")
    found = settings.check_options()
    assert found.level == PROBLEM
    assert "there is no option 'epoch'" in found.text


def test_size_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "small classes up to 32768 bytes" in settings.check_size_classes().text
    table = tmp_path / "table.classes"
    compiled = table_compile(table_parse("[classes]\nsizes = [16, 32, 4096]\n"), _core.slice_bytes())
    table.write_bytes(compiled)
    monkeypatch.setenv("RTMALLOC_OPTIONS", f"epoch_ms=7,config={table}")
    assert settings.check_size_classes() == Finding("size classes", "ok", f"from {table}")
    assert settings.check_options().text == "RTMALLOC_OPTIONS sets epoch_ms, config"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RTMALLOC_OPTIONS", "config=table.classes")
    assert settings.check_size_classes().level == NOTE
    table.write_bytes(compiled[:-1])
    found = settings.check_size_classes()
    assert found.level == PROBLEM and "table.classes: damaged" in found.text
    assert settings.check_options().level == PROBLEM
    monkeypatch.setenv("RTMALLOC_OPTIONS", "config=none")
    assert "none: cannot be read" in settings.check_size_classes().text


@pytest.mark.parametrize(
    ("value", "level"),
    [("", "ok"), ("default", "ok"), ("malloc", "note"), ("debug", "problem"), ("pymalloc", "problem")],
)
def test_pythonmalloc(monkeypatch: pytest.MonkeyPatch, value: str, level: str) -> None:
    monkeypatch.setenv("PYTHONMALLOC", value)
    assert interpreter.check_pythonmalloc().level == level


def test_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpreter.check_debug_hooks().level == OK
    monkeypatch.setattr(interpreter, "other_hooks", lambda: (True, []))
    assert "-X dev" in interpreter.check_debug_hooks().text
    monkeypatch.setattr(interpreter, "other_hooks", lambda: (False, ["/x/_memray.so"]))
    assert interpreter.check_debug_hooks().text == "/x/_memray.so has hooked Python's allocators"


def test_memray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "find_spec", lambda name: None)
    assert interpreter.check_memray().level == OK
    monkeypatch.setattr(interpreter, "find_spec", lambda name: object())
    assert interpreter.check_memray().level == NOTE


def test_tracemalloc(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpreter.check_tracemalloc().level == OK
    monkeypatch.setattr(interpreter, "tracemalloc_is_tracing", lambda: True)
    assert interpreter.check_tracemalloc().level == NOTE


def test_other_preloads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.check_other_preloads().text == "not set"
    monkeypatch.setenv("LD_PRELOAD", "/x/libfaketime.so /usr/lib/libjemalloc.so.2")
    found = settings.check_other_preloads()
    assert found.level == NOTE
    assert found.text.startswith("/usr/lib/libjemalloc.so.2 is preloaded too")


def test_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.check_loader().level == OK
    monkeypatch.setattr(machine, "why_not_preloadable", lambda path: "is setuid")
    assert machine.check_loader().level == PROBLEM


def test_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.check_c_library().text.startswith("glibc")
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "x86_64-linux-musl")
    assert machine.check_c_library().level == NOTE


def test_static_tls() -> None:
    assert machine.check_static_tls().level == OK


def test_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert machine.check_address_space().text == "no limit"
    limit = 8 << 30
    assert machine.check_address_space().level == OK
    limit = 512 << 20
    found = machine.check_address_space()
    assert (found.level, found.text[:18]) == (NOTE, "limited to 512 MiB")


@pytest.mark.parametrize(("value", "level"), [("0\n", "ok"), ("1\n", "ok"), ("2\n", "note"), (None, "ok")])
def test_overcommit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None, level: str) -> None:
    file = tmp_path / "overcommit"
    if value is not None:
        file.write_text(value)
    monkeypatch.setattr(machine, "OVERCOMMIT_FILE", file)
    assert machine.check_overcommit().level == level


@pytest.mark.parametrize(
    ("value", "level"),
    [("[always] madvise never\n", "note"), ("always [madvise] never\n", "ok"), ("always madvise [never]\n", "ok")],
)
def test_huge_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, level: str) -> None:
    file = tmp_path / "enabled"
    monkeypatch.setattr(machine, "THP_FILE", file)
    assert machine.check_huge_pages().text == "no transparent huge pages"
    file.write_text(value)
    assert machine.check_huge_pages().level == level


def test_page_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 4096)
    assert machine.check_page_size().text == "4 KiB"
    monkeypatch.setattr(os, "sysconf", lambda name: 65536)
    assert machine.check_page_size().level == NOTE


@needs_objects
def test_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(launching.__file__).parents[2]))
    assert launching.check_launch().level == OK
    monkeypatch.setenv("PYTHONMALLOC", "pymalloc")
    assert launching.check_launch().text == "these do not arrive at rtmalloc under the launcher: mem,obj"
    monkeypatch.delenv("PYTHONMALLOC")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert launching.check_launch().text == "the interpreter failed with status 1: no message"
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert launching.check_launch().text.startswith("the interpreter did not start under the preload library")
    monkeypatch.setattr(launch, "library_file", lambda: "/a b/librtmalloc.so")
    assert launching.check_launch().text.startswith("not tried: ")


def test_launch_on_a_free_threaded_build(monkeypatch: pytest.MonkeyPatch) -> None:
    # There mem and obj stay with the interpreter, as they must: that is no problem.
    monkeypatch.setenv("PYTHONPATH", str(Path(launching.__file__).parents[2]))
    monkeypatch.setattr(_core, "is_free_threaded", lambda: True)
    found = launching.check_launch()
    assert (found.level, found.text) == (OK, "under the launcher malloc and Python's raw domain arrive at rtmalloc")
    code = (
        "import rtmalloc, rtmalloc._core as c; c.is_free_threaded = lambda: True; c.domains_arriving = lambda n: 1; "
        "v = rtmalloc.verify(); print(v.complete, 'obj' in v.entries, v.entries['raw-large'])"
    )
    assert succeed(run_rtmalloc("-c", code)) == "True False True\n"


def test_packages_with_an_allocator_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "find_spec", lambda name: None)
    assert launching.check_private_allocators().level == OK
    monkeypatch.setattr(launching, "find_spec", lambda name: name)
    monkeypatch.setattr(launching, "missing", lambda name: [name] if name == "pyarrow" else [])
    found = launching.check_private_allocators()
    assert found.level == NOTE and found.text.startswith("pyarrow keeps its buffers in an allocator of its own")
    assert "ARROW_DEFAULT_MEMORY_POOL=system" in found.fix and "polars" not in found.fix
    monkeypatch.setattr(launching, "missing", lambda name: [])
    assert launching.check_private_allocators().text == "the buffers of polars, pyarrow arrive at rtmalloc"

    def fails(name: str) -> list[str]:
        raise launching.ProbeError("broken")

    monkeypatch.setattr(launching, "missing", fails)
    assert launching.check_private_allocators().level == OK


def test_command() -> None:
    finished = run_rtmalloc("doctor")
    assert finished.returncode == 0, finished.stdout
    words = "malloc and Python's raw domain arrive" if _core.is_free_threaded() else "every allocation arrives"
    assert f"under the launcher {words} at rtmalloc" in finished.stdout
    found = json.loads(succeed(run_rtmalloc("doctor", "--json")))
    assert len(found) == len(CHECKS)


def test_command_fails_when_something_does_not_work() -> None:
    finished = run_rtmalloc("doctor", env={"RTMALLOC_OPTIONS": "epoch_ms=x", "PYTHONMALLOC": "debug"})
    assert finished.returncode == 1
    assert "-> unset PYTHONMALLOC" in finished.stdout
    assert "RTMALLOC_OPTIONS: 'epoch_ms=x': the value is no whole number" in finished.stdout
