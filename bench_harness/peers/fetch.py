"""Peers without root and without a compiler: packages are downloaded and unpacked, and none is installed.

PyPI's wheels come by `pip download`, Debian's packages by `apt-get download`, both as whoever runs this. Of a package
only the library's files are kept, in a folder of the checkout that git ignores. Where the machine's own list of
Debian packages cannot be used, a private one is fetched, and removed again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench_harness.errors import HarnessError
from bench_harness.peers.allocators import FETCHED
from bench_harness.peers.declaration import AllocatorRow, declared

__all__ = ["Outcome", "fetch"]

ORIGIN = "origin.json"  # beside the files: the package that they came from
_SECONDS = 60.0  # for one command; without a network it fails much sooner
_PIP = (
    "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:",
    "--timeout", "5", "--retries", "1",
)  # fmt: skip
_APT = ("-qq", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5", "-o", "APT::Sandbox::User=root")


@dataclass(frozen=True)
class Outcome:
    """What became of one allocator: the package that it was taken from, or why there is none."""

    name: str
    package: str = ""
    reason: str = ""


class _Failure(Exception):
    """A package cannot be had; the message is its reason."""


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    except FileNotFoundError as error:
        raise _Failure(f"there is no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise _Failure(f"{command[0]} took more than {_SECONDS:g} s") from error
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.startswith(("E", "No module"))]
        raise _Failure(words[-1].removeprefix("ERROR: ").removeprefix("E: ") if words else f"{command[0]} failed")


def _unzip(wheel: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        return {name: archive.read(members[name]) for name in wanted if name in members}


def _undeb(package: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    with tempfile.TemporaryFile() as whole:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=whole, check=True, timeout=_SECONDS)
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile() or member.issym()}
            files = {}
            for name in wanted:
                # A library's name is a link to the file with its full version, in the same folder.
                member = members.get(name)
                while member is not None and member.issym():
                    member = members.get(Path(member.linkname).name)
                content = archive.extractfile(member) if member is not None else None
                if content is not None:
                    files[name] = content.read()
            return files


class _Fetcher:
    """Downloads for one call of `fetch`, below a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._lists = scratch / "apt"
        self._updating = threading.Lock()
        self._update_failure: _Failure | None = None
        self._updated = False

    def outcome(self, row: AllocatorRow) -> Outcome:
        """Download an allocator's package and put its files into its folder."""
        reasons = []
        for way in (self._from_pypi, self._from_debian):
            try:
                package = way(row)
            except _Failure as failure:
                reasons.append(str(failure))
            else:
                if package is not None:
                    return Outcome(row.name, package)
        return Outcome(row.name, reason="; ".join(reasons) or "it is not declared which package has it")

    def _from_pypi(self, row: AllocatorRow) -> str | None:
        if "pypi" not in row.get:
            return None
        folder = self._folder(row, "pypi")
        _run([sys.executable, "-m", *_PIP, "--dest", str(folder), row.get["pypi"]], folder)
        wheel = next(folder.glob("*.whl"))
        name, version = wheel.name.split("-")[:2]
        return self._keep(row, _unzip(wheel, _wanted(row)), f"PyPI {name.replace('_', '-')} {version}")

    def _from_debian(self, row: AllocatorRow) -> str | None:
        if "debian" not in row.get:
            return None
        folder = self._folder(row, "debian")
        package = self._apt_download(row.get["debian"], folder)
        name, version = package.name.split("_")[:2]
        return self._keep(row, _undeb(package, _wanted(row)), f"Debian {name} {version.replace('%3a', ':')}")

    def _apt_download(self, names: Sequence[str], folder: Path) -> Path:
        for private in ((), self._private()):
            if private:
                self._update(private)
            for name in names:
                try:
                    _run(["apt-get", *_APT, *private, "download", name], folder)
                except _Failure as failure:
                    why = failure
                else:
                    return next(folder.glob("*.deb"))
        raise why

    def _private(self) -> tuple[str, ...]:
        return ("-o", f"Dir::State={self._lists}/state", "-o", f"Dir::Cache={self._lists}/cache")

    def _update(self, private: Sequence[str]) -> None:
        """Fetch the private list of packages, once for all allocators."""
        with self._updating:
            if not self._updated:
                self._updated = True
                for name in ("state/lists/partial", "cache/archives/partial"):
                    (self._lists / name).mkdir(parents=True)
                try:
                    _run(["apt-get", *_APT, *private, "update"], self._scratch)
                except _Failure as failure:
                    self._update_failure = failure
            if self._update_failure is not None:
                raise self._update_failure

    def _folder(self, row: AllocatorRow, kind: str) -> Path:
        folder = self._scratch / f"{row.name}-{kind}"
        folder.mkdir()
        return folder

    def _keep(self, row: AllocatorRow, files: dict[str, bytes], package: str) -> str:
        """Put the files in place of older ones, all at once."""
        library = row.library
        if library is None or not any(name in files for name in library.files):
            raise _Failure(f"{package} has no {' or '.join(_wanted(row))}")
        fresh = self._scratch / f"{row.name}-new"
        fresh.mkdir(exist_ok=True)
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        (fresh / ORIGIN).write_text(json.dumps({"package": package}) + "\n")
        shutil.rmtree(FETCHED / row.name, ignore_errors=True)
        fresh.rename(FETCHED / row.name)
        return package


def _wanted(row: AllocatorRow) -> tuple[str, ...]:
    return (*row.library.files, *row.library.companions) if row.library is not None else ()


def fetch(names: Sequence[str], say: Callable[[Outcome], object]) -> list[Outcome]:
    """Download allocators, each into its own folder below `.peers`.

    Args:
        names: allocators of `peers.toml` that have a `get`.
        say: told each outcome as it comes.
    Raises:
        HarnessError: the folder cannot be written.
    """
    rows = [declared().allocators[name] for name in names]

    def one(row: AllocatorRow) -> Outcome:
        outcome = fetcher.outcome(row)
        say(outcome)
        return outcome

    try:
        FETCHED.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FETCHED, prefix=".") as scratch:
            fetcher = _Fetcher(Path(scratch))
            with ThreadPoolExecutor(len(rows) or 1) as pool:
                return list(pool.map(one, rows))
    except OSError as error:
        raise HarnessError(f"{FETCHED}: {error.strerror or error}") from error
