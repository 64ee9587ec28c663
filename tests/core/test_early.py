"""Calls before constructors, by whoever comes first; and what the loader and the C library do beside the allocator."""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import DRIVER, PLAIN, PRELOAD, compile_cached, driver, preloaded, run

SOURCE = DRIVER / "early.c"


def library(*macros: str) -> Path:
    """A library that allocates in its constructors and in what EARLY_* name besides."""
    flags = ["-shared", "-fPIC", "-O1", "-g", "-fno-builtin", "-w", *(f"-DEARLY_{macro}" for macro in macros)]
    name = f"early-{'-'.join(macros).lower()}.so"
    return compile_cached(name, [SOURCE], [["gcc", *flags, SOURCE, "-o", "{out}"]])


def early(*words: str, environment: dict[str, str], program: Path | None = None) -> str:
    """Run the program to its end; what it printed."""
    done = run([program or driver("early", PLAIN), *words], environment=environment, seconds=60)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("now", ["", "1"], ids=["lazy", "now"])
def test_a_program_that_allocates_before_main(now: str) -> None:
    assert early("constructors", environment={**preloaded(), "LD_BIND_NOW": now}) == "constructors: fine\n"


def test_options_are_read_although_the_first_call_comes_early() -> None:
    done = run([driver("early", PLAIN), "constructors"], environment=preloaded("epoch_ms=0"))
    assert (done.returncode, done.stdout) == (0, "constructors: fine\n")
    assert "rtmalloc: RTMALLOC_OPTIONS epoch_ms: " in done.stderr


def test_without_the_library_the_program_does_the_same() -> None:
    assert early("constructors", environment={}) == "constructors: fine\n"


@pytest.mark.parametrize(("now", "moments"), [("", 2), ("1", 3)], ids=["lazy", "now"])
def test_a_library_in_front_of_it(now: str, moments: int) -> None:
    # It is relocated after ours, so that its resolver may call us; ours is initialised first all the same.
    names = f"{library('LIBRARY')}:{PRELOAD}"
    text = early("constructors", environment={"LD_PRELOAD": names, "LD_BIND_NOW": now})
    assert sorted(text.splitlines()) == ["constructors: fine", f"library: {moments} moments"]


@pytest.mark.parametrize("now", ["", "1"], ids=["lazy", "now"])
def test_a_library_behind_it(now: str) -> None:
    names = f"{PRELOAD}:{library('LIBRARY', 'NO_RESOLVER')}"
    text = early("constructors", environment={"LD_PRELOAD": names, "LD_BIND_NOW": now})
    assert sorted(text.splitlines()) == ["constructors: fine", "library: 2 moments"]


def test_under_an_audit_library() -> None:
    # It has a C library of its own, in a namespace of its own; what it does in ours must do no harm.
    environment = {**preloaded("background_thread=1"), "LD_AUDIT": str(library("AUDIT"))}
    assert early("constructors", environment=environment) == "constructors: fine\n"


@pytest.mark.parametrize("level", ["1", "2", "3"])
def test_fortified(level: str) -> None:
    flags = ["-O2", "-w", f"-D_FORTIFY_SOURCE={level}"]
    program = compile_cached(f"early-fortified-{level}", [SOURCE], [["gcc", *flags, SOURCE, "-o", "{out}"]])
    for mode in ("usable", "constructors"):
        assert early(mode, environment=preloaded(), program=program) == f"{mode}: fine\n"


def test_restartable_sequences_stay_registered() -> None:
    assert early("rseq", "kept", environment=preloaded()) == "rseq: fine\n"
    environment = {**preloaded(), "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}
    assert early("rseq", "off", environment=environment) == "rseq: fine\n"


def test_static_storage_is_left_for_others() -> None:
    # A library that is loaded late, with as much static thread-local storage as glibc keeps for such.
    source = 'static __thread char s[1024] __attribute__((tls_model("initial-exec"))); char *late(void) { return s; }'
    commands = [["sh", "-c", f"echo '{source}' | gcc -shared -fPIC -x c - -o {{out}}"]]
    late = compile_cached("late-tls.so", [], commands)
    code = f"import ctypes; f = ctypes.CDLL({str(late)!r}).late; f.restype = ctypes.c_void_p; print(f() is not None)"
    done = run(["python3", "-c", code], environment=preloaded())
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
