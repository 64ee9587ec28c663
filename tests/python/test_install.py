"""install(): what it takes over, what it refuses with a sentence, and every order with tracemalloc, fork and exit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.python.programs import ALL, ARRIVING, answer, clean_environment, needs_objects, run_code, succeed

# Work that allocates in every domain, grows blocks that were there before, frees in another order, and collects.
WORK = """
import gc, json
kept = [str(i) * 9 for i in range(20000)]
for round in range(3):
    data = json.loads(json.dumps([{'a': i, 'b': [i] * 20, 'c': 'x' * (i % 3000)} for i in range(2000)]))
    kept.extend(list(data[::7]))
    del data
    gc.collect()
import email.mime.text, decimal, re
assert decimal.Decimal(2).sqrt() and re.sub('(a)+', r'\\1', 'aaab') == 'ab'
"""


def refused(code: str, **how: object) -> str:
    """The sentence with which install() refuses in a program."""
    program = (
        f"import rtmalloc\n{code}\ntry: rtmalloc.install()\n"
        "except rtmalloc.InstallError as error: print(error)\nelse: print('installed')"
    )
    return succeed(run_code(program, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_all_domains_arrive(route: str) -> None:
    assert answer(run_code(ARRIVING, route)) == ALL


def test_import_alone_changes_nothing() -> None:
    assert answer(run_code(ARRIVING)) == []


def test_raw_alone() -> None:
    assert answer(run_code(f"import rtmalloc; rtmalloc.install('raw')\n{WORK}{ARRIVING}")) == ["raw"]


def test_raw_first_and_the_rest_later() -> None:
    assert answer(run_code("import rtmalloc; rtmalloc.install('raw'); rtmalloc.install(); " + ARRIVING)) == ALL


@pytest.mark.parametrize("domains", ["{'obj'}", "{'mem', 'obj'}", "'heap'", "()"])
def test_other_sets_are_no_choice(domains: str) -> None:
    code = f"import rtmalloc\ntry: rtmalloc.install({domains})\nexcept ValueError as error: print(error)"
    assert succeed(run_code(code)).startswith('domains is "auto", {"raw"} or {"raw", "mem", "obj"}, not ')


@needs_objects
def test_twice_is_once() -> None:
    code = "import rtmalloc; a = rtmalloc.install(); b = rtmalloc.install(); assert a == b, (a, b); print(a)"
    assert "route='install', domains={mem, obj, raw}" in succeed(run_code(code))


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_a_program_works(route: str) -> None:
    succeed(run_code(WORK, route))


def test_late_install_frees_and_grows_what_was_there() -> None:
    code = f"""
import gc
before = [bytearray(n % 4000 + 1) for n in range(20000)]
lists = [list(range(n % 50)) for n in range(5000)]
import rtmalloc; rtmalloc.install()
for one in lists: one.extend(range(500))
for one in before[::2]: one.extend(b'x' * 5000)
del before, lists; gc.collect()
{WORK}
"""
    succeed(run_code(code))


def test_switch() -> None:
    assert answer(run_code(ARRIVING, "install", env={"RTMALLOC": "0"})) == []


def test_free_threaded_builds_get_raw_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from rtmalloc import _core
    from rtmalloc.interpreter import install

    monkeypatch.setattr(_core, "is_free_threaded", lambda: True)
    assert install._domains_wanted("auto") == {"raw"}
    with pytest.raises(install.InstallError, match="walking its own allocator"):
        install._domains_wanted({"raw", "mem", "obj"})


# ---- tracemalloc


def test_refused_while_tracemalloc_traces() -> None:
    assert refused("import tracemalloc; tracemalloc.start()").startswith("tracemalloc is tracing: ")
    assert refused("", flags=["-X", "tracemalloc"]).startswith("tracemalloc is tracing: ")
    assert refused("", env={"PYTHONTRACEMALLOC": "1"}).startswith("tracemalloc is tracing: ")


def test_force_does_not_overrule_tracemalloc() -> None:
    code = (
        "import rtmalloc, tracemalloc; tracemalloc.start()\n"
        "try: rtmalloc.install(force=True)\nexcept rtmalloc.InstallError: print('refused')"
    )
    assert succeed(run_code(code)) == "refused\n"


def test_not_strict_warns_and_leaves_everything_as_it_is() -> None:
    code = (
        "import json, rtmalloc, tracemalloc, warnings; tracemalloc.start()\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always'); status = rtmalloc.install(strict=False)\n"
        "(one,) = caught\n"
        "print(json.dumps([status.active, one.category.__name__, str(one.message)[:59], one.filename]))"
    )
    said = "rtmalloc is not installed: tracemalloc is tracing: when it s"[:59]
    assert answer(run_code(code)) == [False, "RuntimeWarning", said, "<string>"]
    assert answer(run_code("import rtmalloc; rtmalloc.install(strict=False); " + ARRIVING)) == ALL
    # What is wrong in the call itself is no matter of the surroundings.
    code = "import rtmalloc\ntry: rtmalloc.install('heap', strict=False)\nexcept ValueError: print('refused')"
    assert succeed(run_code(code)) == "refused\n"


def test_install_after_tracemalloc_has_stopped() -> None:
    code = "import tracemalloc; tracemalloc.start(); x = [bytes(99)] * 99; tracemalloc.stop()\n"
    succeed(run_code(code + "import rtmalloc; rtmalloc.install()\n" + WORK))


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_tracemalloc_over_us(route: str) -> None:
    code = f"""
import tracemalloc
for i in range(3):
    tracemalloc.start()
    {WORK.strip().replace(chr(10), chr(10) + "    ")}
    assert tracemalloc.get_traced_memory()[0] > 1000000
    tracemalloc.stop()
{WORK}
{ARRIVING}
"""
    assert answer(run_code(code, route)) == ALL


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_install_again_under_tracemalloc_changes_nothing(route: str) -> None:
    code = "import rtmalloc, tracemalloc; tracemalloc.start(); rtmalloc.install(); tracemalloc.stop(); "
    assert answer(run_code(code + ARRIVING, route)) == ALL


def test_launcher_with_tracemalloc_from_the_start() -> None:
    assert (
        answer(
            run_code(
                WORK + "import tracemalloc; tracemalloc.stop()\n" + ARRIVING, "launcher", flags=["-X", "tracemalloc"]
            )
        )
        == ALL
    )


# ---- debug hooks and PYTHONMALLOC


@needs_objects
@pytest.mark.parametrize(
    "how",
    [{"flags": ["-X", "dev"]}, {"env": {"PYTHONMALLOC": "debug"}}, {"env": {"PYTHONMALLOC": "malloc_debug"}}],
    ids=str,
)
def test_refused_under_debug_hooks(how: dict[str, object]) -> None:
    assert refused("", **how).startswith("CPython's debug hooks are active")


def test_force_does_not_overrule_debug_hooks() -> None:
    # It crashed 3.10: a block that the debug layer grew beyond pymalloc lies in a block of ours, behind its header.
    code = "import rtmalloc\ntry: rtmalloc.install(force=True)\nexcept rtmalloc.InstallError: print('refused')\n" + WORK
    assert succeed(run_code(code, flags=["-X", "dev"])) == "refused\n"


@needs_objects
@pytest.mark.parametrize("choice", ["malloc", "pymalloc", "mimalloc"])
def test_install_over_another_choice(choice: str) -> None:
    if choice == "mimalloc" and sys.version_info < (3, 13):
        choice = "default"  # the interpreter has none
    assert answer(run_code(WORK + ARRIVING, "install", env={"PYTHONMALLOC": choice})) == ALL


@needs_objects
@pytest.mark.parametrize("choice", ["debug", "malloc", "malloc_debug", "pymalloc", "pymalloc_debug"])
def test_the_users_choice_wins_under_the_launcher(choice: str) -> None:
    arrives = answer(run_code(WORK + ARRIVING, "launcher", env={"PYTHONMALLOC": choice}))
    # RAW is libc's malloc in all of them, and that is ours.
    assert arrives == (ALL if choice.startswith("malloc") else ["raw"])


def test_dev_mode_wins_under_the_launcher() -> None:
    assert answer(run_code(WORK + ARRIVING, "launcher", flags=["-X", "dev"])) == ["raw"]


@needs_objects
def test_install_cannot_overrule_it_there() -> None:
    sentence = refused("", route="launcher", env={"PYTHONMALLOC": "pymalloc"})
    assert sentence.startswith("another allocator was chosen over rtmalloc when this interpreter started")


# ---- other hooks


def test_refused_over_another_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    from rtmalloc import _core
    from rtmalloc.interpreter import install

    monkeypatch.setattr(
        _core,
        "domain_allocators",
        lambda: ("/lib/libpython.so", [("/x/_memray.so", True), ("/lib/libpython.so", False)]),
    )
    with pytest.raises(install.InstallError, match=r"/x/_memray.so has hooked Python's allocators"):
        install._refuse_over_other_hooks(force=False)
    install._refuse_over_other_hooks(force=True)


def test_who_serves_the_domains() -> None:
    code = (
        "import rtmalloc._core as c, json\n"
        "def files(): python, found = c.domain_allocators(); return [file == python for file, _ in found]\n"
        "before = files(); c.hooks_install(1); print(json.dumps([before, files()]))"
    )
    assert answer(run_code(code)) == [[True] * 3, [False, True, True]]


# ---- disable, enable, verify


def test_disable_and_enable() -> None:
    code = f"""
import rtmalloc, json
ours = [bytes(n) for n in range(3000)]
rtmalloc.disable()
seen = [sorted(rtmalloc.status().domains)]
theirs = [bytes(n) for n in range(3000)]
del ours
rtmalloc.enable()
seen.append(sorted(rtmalloc.status().domains))
del theirs
{WORK}
print(json.dumps(seen))
"""
    assert answer(run_code(code, "install")) == [[], ALL]
    assert answer(run_code(code, "launcher")) == [["raw"], ALL]


def test_nothing_to_disable() -> None:
    code = "import rtmalloc\ntry: rtmalloc.disable()\nexcept rtmalloc.InstallError as error: print(error)"
    assert succeed(run_code(code)).startswith("rtmalloc is not installed in this interpreter")


VERIFY = "import rtmalloc, json; print(json.dumps(rtmalloc.verify().missing))"
OF_C = ["malloc", "calloc", "realloc", "posix_memalign"]


@needs_objects
def test_verify() -> None:
    assert answer(run_code(VERIFY, "launcher")) == []
    assert answer(run_code(VERIFY, "install")) == OF_C
    everything = [*OF_C, "raw", "mem", "obj", "raw-large", "mem-large", "obj-large"]
    assert answer(run_code(VERIFY)) == everything
    # pymalloc sends what is large to malloc.
    assert answer(run_code(VERIFY, "launcher", env={"PYTHONMALLOC": "pymalloc"})) == ["mem", "obj"]


ASKS = (
    "import json, {0}, rtmalloc; v = rtmalloc.verify(); "
    "print(json.dumps([v.entries['{0}'], v.complete, list(v.advice)]))"
)


def test_verify_asks_pyarrow() -> None:
    pytest.importorskip("pyarrow")
    arrives, complete, (advice,) = answer(run_code(ASKS.format("pyarrow"), "launcher"))
    assert not arrives and not complete and "ARROW_DEFAULT_MEMORY_POOL=system" in advice
    # And what the line says is so.
    env = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    assert answer(run_code(ASKS.format("pyarrow"), "launcher", env=env)) == [True, True, []]


def test_verify_asks_polars() -> None:
    pytest.importorskip("polars")
    arrives, complete, (advice,) = answer(run_code(ASKS.format("polars"), "launcher"))
    assert not arrives and not complete and advice.startswith("polars has an allocator compiled in")


def test_start_imports_nothing_slow() -> None:
    code = (
        "import json, sys; before = set(sys.modules)\n"
        "import rtmalloc; rtmalloc.install()\n"
        "print(json.dumps([name for name in set(sys.modules) - before if 'rtmalloc' not in name]))"
    )
    # 5 ms is the aim. What `site` imports is there already, and Cython makes two.
    named = {
        "__future__",
        "cython_runtime",
        "_tracemalloc",
        "_collections_abc",
        "_stat",
        "genericpath",
        "os",
        "os.path",
    }
    found = {name for name in answer(run_code(code, flags=["-S"])) if not name.startswith("_cython")}
    assert found <= {*named, "posixpath", "stat"}


@pytest.mark.parametrize(("route", "domains"), [("plain", []), ("launcher", ALL)])
def test_an_import_while_the_interpreter_starts_takes_nothing(route: str, domains: list[str], tmp_path: Path) -> None:
    # From 3.15 on Py_IsInitialized() denies until `site` is through, and a .pth file may import us before.
    (tmp_path / "sitecustomize.py").write_text("import rtmalloc._core")
    env = clean_environment()
    env["PYTHONPATH"] += f":{tmp_path}"
    assert answer(run_code(ARRIVING, route, env=env)) == domains
