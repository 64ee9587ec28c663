"""Systems that this machine is not: newer Pythons and C libraries, another processor, another C library.

    python ci/systems.py list                  what there is, what it costs, what is set up
    python ci/systems.py setup [NAME...]       fetch and build them, from Debian's packages alone
    python ci/systems.py test [NAME...]        set up what is missing, and run the right part of the suite in each
    python ci/systems.py run NAME COMMAND...   a command in one that has a file system of its own

They lie in .systems, or where RTMALLOC_SYSTEMS says. It takes root, apt-get, and `make build` before. A system with a
file system of its own gets a copy of the sources; its mounts are in a namespace that ends with the command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("RTMALLOC_SYSTEMS", ROOT / ".systems"))
SID = FOLDER / "sid"
MIRROR = os.environ.get("RTMALLOC_DEBIAN", "http://deb.debian.org/debian")
VERSIONS = ("3.14", "3.15")
FREE = "/opt/free-threaded"
PACKAGES = ["gcc", "g++", "make", "binutils", "libc6-dev", "ca-certificates", "util-linux"]
PACKAGES += [f"python{v}{part}" for v in VERSIONS for part in ("", "-venv", "-dev")]
CERTIFICATES = Path("/etc/ssl/certs")
APT = ["apt-get", "-q", "-y", "-o", "Acquire::Check-Valid-Until=false", "-o", "APT::Sandbox::User=root"]
SOURCES = "/rtmalloc"
"""Where a copy of this repository lies inside."""
CORE_TESTS = ["test_early.py", "test_fast_path.py", "test_semantics.py", "test_percpu.py", "test_interposers.py"]
CORE_STRESS = ["tests/core/test_stress.py", "-k", "test_plain and not soak"]


FREE_TESTS = """{python} -m venv .venv
.venv/bin/pip install -q dist/*.whl pytest pytest-timeout
mkdir test && cp -r tests pyproject.toml test && cd test && rm tests/conftest.py
../.venv/bin/rtmalloc doctor
../.venv/bin/python -m pytest -q tests/python/test_free_threaded.py tests/python/test_doctor.py
"""


class SystemFailure(Exception):
    """A step failed; the message says which."""


def sh(*command: str | Path, cwd: Path | None = None, **variables: str) -> None:
    """Run a command of this machine.

    Raises:
        SystemFailure: when it fails.
    """
    print(f"==> {' '.join(map(str, command))}"[:200], flush=True)
    done = subprocess.run([str(word) for word in command], cwd=cwd, env={**os.environ, **variables})
    if done.returncode:
        raise SystemFailure(f"status {done.returncode}: {' '.join(map(str, command))[:300]}")


def host_packages(*names: str) -> None:
    """Install packages of Debian on this machine, unless they are there."""
    asked = ["dpkg-query", "-W", "-f=${Status}"]
    missing = [n for n in names if b"ok installed" not in subprocess.run([*asked, n], capture_output=True).stdout]
    if missing:
        sh("apt-get", "update", "-qq")
        sh("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, DEBIAN_FRONTEND="noninteractive")


def inside(*command: str, cwd: str = "/") -> None:
    """Run a command in sid's file system, with the kernel's mounts and this machine's certificates.

    Raises:
        SystemFailure: when it fails.
    """
    mounts = "".join(f'mount --rbind /{name} "$0"/{name}; ' for name in ("proc", "sys", "dev"))
    mounts += f'mount --bind {CERTIFICATES} "$0"{CERTIFICATES}; ' if CERTIFICATES.is_dir() else ""
    # What this machine's pip is told of this machine's folders is not there.
    environment = [
        "env",
        "-u",
        "PIP_FIND_LINKS",
        "-u",
        "LD_PRELOAD",
        "DEBIAN_FRONTEND=noninteractive",
        "LC_ALL=C.UTF-8",
    ]
    script = f'set -e; {mounts} folder=$1; shift; exec chroot "$0" sh -c \'cd "$0"; exec "$@"\' "$folder" "$@"'
    sh("unshare", "--mount", "--fork", "sh", "-c", script, SID, cwd, *environment, *command)


def sources_copy() -> None:
    """The files that git knows, as they are now, into sid."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    target = SID / SOURCES[1:]
    shutil.rmtree(target, ignore_errors=True)
    for name in listed.stdout.decode().split():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def sid_setup() -> None:
    """Debian unstable with its Pythons."""
    host_packages("debootstrap", "util-linux")
    if not (SID / "usr/bin/python3.15").exists():
        shutil.rmtree(SID, ignore_errors=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        sh("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "sid", SID, MIRROR)
    inside("gcc", "--version")


def python_tests(python: str, *core: Sequence[str]) -> None:
    """The wheel by ci/wheel.py (doctor, tests/python), and tests of the core with that gcc and glibc."""
    sources_copy()
    inside(python, "ci/wheel.py", cwd=SOURCES)
    if not core:
        return
    inside(python, "-m", "venv", ".venv", cwd=SOURCES)
    inside(".venv/bin/pip", "install", "-q", "setuptools>=77", "Cython>=3.3,<3.4", cwd=SOURCES)
    needed = ["hypothesis", "pytest", "pytest-timeout", "pytest-xdist"]
    inside(".venv/bin/pip", "install", "-q", *needed, cwd=SOURCES)
    inside(".venv/bin/python", "setup.py", "-q", "build_ext", "--inplace", cwd=SOURCES)
    for arguments in core:
        inside(".venv/bin/python", "-m", "pytest", "-q", "-n", "2", *arguments, cwd=SOURCES)


def sid_test() -> None:
    """Each Python's wheel; the core once."""
    for version in VERSIONS:
        core = ([f"tests/core/{name}" for name in CORE_TESTS], CORE_STRESS) if version == VERSIONS[-1] else ()
        python_tests(f"python{version}", *core)


def free_versions() -> list[str]:
    """Free-threaded Pythons that have been built in sid."""
    return sorted(path.name for path in (SID / FREE[1:]).glob("3.*") if (path / "bin/python3").exists())


def free_setup() -> None:
    """Free-threaded Pythons, built of Debian's source packages; a mirror may lack the newest for a day."""
    sid_setup()
    (SID / "etc/apt/sources.list.d/source.list").write_text(f"deb-src {MIRROR} sid main\n")
    inside(*APT, "update")
    libraries = ("zlib1g-dev", "libffi-dev", "libssl-dev", "liblzma-dev", "libbz2-dev", "libsqlite3-dev", "pkgconf")
    inside(*APT, "install", "--no-install-recommends", *libraries, "xz-utils")
    for version in ("3.15", "3.14", "3.13"):
        if (SID / FREE[1:] / version).exists():
            continue
        try:
            inside("sh", "-c", free_recipe(version))
        except SystemFailure:
            print(f"==> free-threaded {version}: not to be had today", flush=True)
    if not free_versions():
        raise SystemFailure("the mirror has none of the sources: try again tomorrow")


def free_recipe(version: str) -> str:
    """A script that fetches the newest source of a version that the mirror really has, builds and installs it."""
    apt = " ".join(APT)
    return f"""set -e
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
for v in $(apt-cache showsrc python{version} | sed -n 's/^Version: //p' | sort -Vru); do
    {apt} source --download-only --tar-only python{version}="$v" && break || true
done
mkdir tree && tar xf *.orig.tar.xz -C tree --strip-components=1 && cd tree
./configure -q --disable-gil --prefix={FREE}/{version} >configure.log 2>&1
nice make -s -j2 >make.log 2>&1
make -s install >install.log 2>&1 || {{ tail install.log; rm -rf {FREE}/{version}; exit 1; }}
"""


def free_test() -> None:
    """On each of them the wheel, doctor, and what a free-threaded build does.

    (numpy and hypothesis lack wheels for some.)
    """
    for version in free_versions():
        sources_copy()
        inside(f"{FREE}/{version}/bin/python3", "ci/wheel.py", "--only-build", cwd=SOURCES)
        inside("sh", "-ec", FREE_TESTS.format(python=f"{FREE}/{version}/bin/python3"), cwd=SOURCES)


def aarch64_setup() -> None:
    """The cross compiler, and qemu's user mode."""
    host_packages("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static")


def musl_setup() -> None:
    """musl and the wrapper that compiles for it."""
    host_packages("musl-tools", "linux-libc-dev", "gcc")


def here_test(name: str) -> None:
    """Tests that compile for another system and run here (tests/systems)."""
    python = ROOT / ".venv/bin/python"
    if not python.exists():
        raise SystemFailure("needs `make build` and the packages of `make test`")
    sh(python, "-m", "pytest", "-q", "-n", "2", "tests/systems", cwd=ROOT, RTMALLOC_SYSTEM=name)


@dataclass(frozen=True)
class System:
    """One of them."""

    what: str
    costs: str
    """Time on two cores, and disk."""
    setup: Callable[[], None]
    test: Callable[[], None]
    there: Callable[[], bool]


SYSTEMS = {
    "musl": System(
        "C programs on musl",
        "seconds, 5 MB; tests 2 min",
        musl_setup,
        lambda: here_test("musl"),
        lambda: shutil.which("musl-gcc") is not None,
    ),
    "aarch64": System(
        "aarch64 under qemu",
        "1 min, 400 MB; tests 6 min",
        aarch64_setup,
        lambda: here_test("aarch64"),
        lambda: bool(shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64-static")),
    ),
    "sid": System(
        "Debian unstable: CPython 3.14 and 3.15, its glibc and gcc",
        "2 min, 900 MB; tests 20 min",
        sid_setup,
        sid_test,
        lambda: (SID / "usr/bin/python3.15").exists(),
    ),
    "freethreaded": System(
        "free-threaded CPython, built in sid",
        "sid, and 5 min and 500 MB for each version; tests 5 min",
        free_setup,
        free_test,
        lambda: bool(free_versions()),
    ),
}


def each(names: Sequence[str], what: str) -> int:
    """Set up or test systems, one after the other, and tell how each went; the exit status."""
    lines, failed = [], 0
    for name in names or SYSTEMS:
        begun = time.monotonic()
        try:
            if what == "setup" or not SYSTEMS[name].there():
                SYSTEMS[name].setup()
            if what == "test":
                SYSTEMS[name].test()
            outcome = "ok"
        except SystemFailure as error:
            outcome, failed = f"FAILED: {error}", 1
        lines.append(f"{name:14} {time.monotonic() - begun:5.0f} s  {outcome}")
    print("\n" + "\n".join(lines), flush=True)
    return failed


def main() -> int:
    """The command line; the exit status."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    for name in ("setup", "test"):
        commands.add_parser(name).add_argument("names", nargs="*", metavar="NAME", help=", ".join(SYSTEMS))
    entering = commands.add_parser("run")
    entering.add_argument("name", choices=["sid", "freethreaded"])
    entering.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    asked = parser.parse_args()
    if asked.command == "list":
        for name, system in SYSTEMS.items():
            print(f"{name:14} {'there  ' if system.there() else 'missing'}  {system.what} ({system.costs})")
        return 0
    if asked.command == "run":
        try:
            inside(*asked.words)
        except SystemFailure as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    unknown = [name for name in asked.names if name not in SYSTEMS]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    return each(asked.names, asked.command)


if __name__ == "__main__":
    sys.exit(main())
