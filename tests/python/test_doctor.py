"""doctor: each check by itself, in a world made for it, and the command as a whole."""

from __future__ import annotations

import json
import resource
import sys
import types
from pathlib import Path

import pytest

from rtmalloc import _core
from rtmalloc.doctor import checks
from rtmalloc.launcher import launch
from rtmalloc.size_table import table_compile, table_parse
from tests.python.programs import run_rtmalloc, succeed


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "PYTHONMALLOC", "RTMALLOC", "RTMALLOC_OPTIONS"):
        monkeypatch.delenv(name, raising=False)


def test_every_check_has_its_test() -> None:
    here = Path(__file__).read_text()
    for check in checks.CHECKS:
        assert f"checks.{check.__name__}()" in here, check.__name__
        assert check.__doc__


def test_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_interpreter().level == checks.OK
    monkeypatch.setattr(sys, "implementation", types.SimpleNamespace(name="pypy"))
    assert checks.check_interpreter().level == checks.PROBLEM


def test_free_threading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "is_free_threaded", lambda: False)
    assert checks.check_free_threading().level == checks.OK
    monkeypatch.setattr(_core, "is_free_threaded", lambda: True)
    assert checks.check_free_threading().level == checks.NOTE


def test_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_library().text.endswith("librtmalloc.so")

    def missing() -> Path:
        raise FileNotFoundError("gone")

    monkeypatch.setattr(checks, "library_path", missing)
    assert checks.check_library().level == checks.PROBLEM


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_switch().level == checks.OK
    monkeypatch.setenv("RTMALLOC", "0")
    assert checks.check_switch().level == checks.PROBLEM


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_options().text == "RTMALLOC_OPTIONS sets nothing"
    monkeypatch.setenv("RTMALLOC_OPTIONS", "epoch_ms=7")
    assert checks.check_options().text == "RTMALLOC_OPTIONS sets epoch_ms"
    monkeypatch.setenv("RTMALLOC_OPTIONS", "epoch=7")
    found = checks.check_options()
    assert found.level == checks.PROBLEM
    assert "there is no option 'epoch'" in found.text


def test_size_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "small classes up to 32768 bytes" in checks.check_size_classes().text
    table = tmp_path / "table.classes"
    compiled = table_compile(table_parse("[classes]\nsizes = [16, 32, 4096]\n"), _core.slice_bytes())
    table.write_bytes(compiled)
    monkeypatch.setenv("RTMALLOC_OPTIONS", f"epoch_ms=7,config={table}")
    assert checks.check_size_classes() == checks.Finding("size classes", "ok", f"from {table}")
    assert checks.check_options().text == "RTMALLOC_OPTIONS sets epoch_ms, config"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RTMALLOC_OPTIONS", "config=table.classes")
    assert checks.check_size_classes().level == checks.NOTE
    table.write_bytes(compiled[:-1])
    found = checks.check_size_classes()
    assert found.level == checks.PROBLEM and "table.classes: damaged" in found.text
    assert checks.check_options().level == checks.PROBLEM
    monkeypatch.setenv("RTMALLOC_OPTIONS", "config=none")
    assert "none: cannot be read" in checks.check_size_classes().text


@pytest.mark.parametrize(
    ("value", "level"),
    [("", "ok"), ("default", "ok"), ("malloc", "note"), ("debug", "problem"), ("pymalloc", "problem")],
)
def test_pythonmalloc(monkeypatch: pytest.MonkeyPatch, value: str, level: str) -> None:
    monkeypatch.setenv("PYTHONMALLOC", value)
    assert checks.check_pythonmalloc().level == level


def test_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_debug_hooks().level == checks.OK
    monkeypatch.setattr(checks, "other_hooks", lambda: (True, []))
    assert "-X dev" in checks.check_debug_hooks().text
    monkeypatch.setattr(checks, "other_hooks", lambda: (False, ["/x/_memray.so"]))
    assert checks.check_debug_hooks().text == "/x/_memray.so has hooked Python's allocators"


def test_tracemalloc(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_tracemalloc().level == checks.OK
    monkeypatch.setattr(checks, "tracemalloc_is_tracing", lambda: True)
    assert checks.check_tracemalloc().level == checks.NOTE


def test_other_preloads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_other_preloads().text == "not set"
    monkeypatch.setenv("LD_PRELOAD", "/x/libfaketime.so /usr/lib/libjemalloc.so.2")
    found = checks.check_other_preloads()
    assert found.level == checks.NOTE
    assert found.text.startswith("/usr/lib/libjemalloc.so.2 is preloaded too")


def test_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_loader().level == checks.OK
    monkeypatch.setattr(checks, "why_not_preloadable", lambda path: "is setuid")
    assert checks.check_loader().level == checks.PROBLEM


def test_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_c_library().text.startswith("glibc")
    monkeypatch.setattr(checks.sysconfig, "get_config_var", lambda name: "x86_64-linux-musl")
    assert checks.check_c_library().level == checks.NOTE


def test_static_tls() -> None:
    assert checks.check_static_tls().level == checks.OK


def test_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert checks.check_address_space().text == "no limit"
    limit = 8 << 30
    assert checks.check_address_space().level == checks.OK
    limit = 512 << 20
    found = checks.check_address_space()
    assert (found.level, found.text[:18]) == (checks.NOTE, "limited to 512 MiB")


@pytest.mark.parametrize(("value", "level"), [("0\n", "ok"), ("1\n", "ok"), ("2\n", "note"), (None, "ok")])
def test_overcommit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None, level: str) -> None:
    file = tmp_path / "overcommit"
    if value is not None:
        file.write_text(value)
    monkeypatch.setattr(checks, "OVERCOMMIT_FILE", file)
    assert checks.check_overcommit().level == level


@pytest.mark.parametrize(
    ("value", "level"),
    [("[always] madvise never\n", "note"), ("always [madvise] never\n", "ok"), ("always madvise [never]\n", "ok")],
)
def test_huge_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, level: str) -> None:
    file = tmp_path / "enabled"
    monkeypatch.setattr(checks, "THP_FILE", file)
    assert checks.check_huge_pages().text == "no transparent huge pages"
    file.write_text(value)
    assert checks.check_huge_pages().level == level


def test_page_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.os, "sysconf", lambda name: 4096)
    assert checks.check_page_size().text == "4 KiB"
    monkeypatch.setattr(checks.os, "sysconf", lambda name: 65536)
    assert checks.check_page_size().level == checks.NOTE


def test_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(checks.__file__).parents[1]))
    assert checks.check_launch().level == checks.OK
    monkeypatch.setenv("PYTHONMALLOC", "pymalloc")
    assert checks.check_launch().text == "these do not arrive at rtmalloc under the launcher: mem,obj"
    monkeypatch.delenv("PYTHONMALLOC")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert checks.check_launch().text == "the interpreter failed with status 1: no message"
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert checks.check_launch().text.startswith("the interpreter did not start under the preload library")
    monkeypatch.setattr(launch, "library_file", lambda: "/a b/librtmalloc.so")
    assert checks.check_launch().text.startswith("not tried: ")


def test_command() -> None:
    finished = run_rtmalloc("doctor")
    assert finished.returncode == 0, finished.stdout
    assert "under the launcher every allocation arrives at rtmalloc" in finished.stdout
    found = json.loads(succeed(run_rtmalloc("doctor", "--json")))
    assert len(found) == len(checks.CHECKS)


def test_command_fails_when_something_does_not_work() -> None:
    finished = run_rtmalloc("doctor", env={"RTMALLOC_OPTIONS": "epoch_ms=x", "PYTHONMALLOC": "debug"})
    assert finished.returncode == 1
    assert "-> unset PYTHONMALLOC" in finished.stdout
    assert "RTMALLOC_OPTIONS: 'epoch_ms=x': the value is no whole number" in finished.stdout
