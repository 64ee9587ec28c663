"""Peers from packages: real pip and apt-get on registries made for the test; what cannot be had has a reason."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench_harness.__main__ import main
from bench_harness.peers import allocators, fetch
from bench_harness.peers.declaration import AllocatorRow, Library, declared

WHEEL = "cmeel_mimalloc-3.9.9-py3-none-any.whl"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where peers go, and nothing that the machine itself has."""
    target = tmp_path / "peers"
    for module in (fetch, allocators):
        monkeypatch.setattr(module, "FETCHED", target)
    monkeypatch.setattr(allocators, "_DIRECTORIES", ())
    return target


@pytest.fixture
def pypi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the only index."""
    links = tmp_path / "links"
    links.mkdir()
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(links)), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return links


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """A flat repository of Debian packages as apt's only source, of which no list has been fetched yet."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs apt-get and dpkg-deb")
    repository = tmp_path / "debs"
    repository.mkdir()
    (repository / "Packages").touch()
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State "{tmp_path}/state";\nAPT::Sandbox::User "root";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)

    def add(name: str, tree: Path) -> None:
        fields = (
            f"Package: {name}\nVersion: 5.9-1\nArchitecture: {architecture.stdout.strip()}\n"
            "Maintainer: nobody <n@example.org>\nDescription: a test\n"
        )
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN" / "control").write_text(fields)
        file = repository / f"{name}.deb"
        subprocess.run(["dpkg-deb", "-b", str(tree), str(file)], check=True, capture_output=True)
        content = file.read_bytes()
        with (repository / "Packages").open("a") as packages:
            digest = hashlib.sha256(content).hexdigest()
            packages.write(f"{fields}Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {digest}\n\n")

    return add


def _wheel(links: Path, *members: tuple[str, bytes]) -> None:
    info = "cmeel_mimalloc-3.9.9.dist-info"
    with zipfile.ZipFile(links / WHEEL, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: cmeel-mimalloc\nVersion: 3.9.9\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def _debian_tree(path: Path) -> Path:
    """A package whose library's name is a link to a file with its full version."""
    libraries = path / "usr" / "lib" / "somewhere"
    libraries.mkdir(parents=True)
    (libraries / "libjemalloc.so.2.9").write_bytes(b"\x7fELF jemalloc")
    (libraries / "libjemalloc.so.2").symlink_to("libjemalloc.so.2.9")
    return path


def test_a_wheel_gives_its_library(folder: Path, pypi: Path) -> None:
    _wheel(pypi, ("cmeel.prefix/lib/libmimalloc.so.3", b"\x7fELF three"), ("cmeel.prefix/lib/libother.so", b"x"))
    (outcome,) = fetch.fetch(["mimalloc"], lambda _: None)
    assert outcome.package == "PyPI cmeel-mimalloc 3.9.9"
    assert (folder / "mimalloc" / "libmimalloc.so.3").read_bytes() == b"\x7fELF three"
    assert json.loads((folder / "mimalloc" / "origin.json").read_text()) == {"package": outcome.package}
    assert sorted(p.name for p in folder.iterdir()) == ["mimalloc"], "scratch folders stayed"
    assert allocators.find_allocators()["mimalloc"].path == (folder / "mimalloc" / "libmimalloc.so.3").resolve()


def test_a_debian_package_gives_its_library_and_is_not_installed(
    folder: Path, pypi: Path, debian: Callable[[str, Path], None], tmp_path: Path
) -> None:
    debian("libjemalloc2", _debian_tree(tmp_path / "tree"))
    (outcome,) = fetch.fetch(["jemalloc"], lambda _: None)
    assert outcome.package == "Debian libjemalloc2 5.9-1", outcome.reason
    assert (folder / "jemalloc" / "libjemalloc.so.2").read_bytes() == b"\x7fELF jemalloc"
    assert not (folder / "jemalloc" / "libjemalloc.so.2").is_symlink()


def test_the_newest_name_of_a_package_comes_first(
    folder: Path, pypi: Path, debian: Callable[[str, Path], None], tmp_path: Path
) -> None:
    debian("libjemalloc2", _debian_tree(tmp_path / "tree"))
    row = AllocatorRow(
        "jemalloc",
        "jemalloc",
        library=Library(files=("libjemalloc.so.2",)),
        get={"debian": ["libnewer", "libjemalloc2"]},
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder.mkdir()
    assert fetch._Fetcher(scratch).outcome(row).package == "Debian libjemalloc2 5.9-1"


def test_what_cannot_be_had_is_one_line_and_no_failure(
    folder: Path,
    pypi: Path,
    debian: Callable[[str, Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["peers", "--missing"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("not to be had here: ")
    for name in ("jemalloc (", "mimalloc (", "tcmalloc ("):
        assert name in line
    assert "cmeel-mimalloc" in line and "libjemalloc2" in line
    assert "mimalloc2" not in line, "it is not compared, so nobody misses it"
    assert main(["peers", "jemalloc"]) == 1


def test_older_files_stay_when_there_are_no_newer_ones(folder: Path, pypi: Path) -> None:
    (folder / "mimalloc").mkdir(parents=True)
    (folder / "mimalloc" / "libmimalloc.so.3").write_bytes(b"old")
    _wheel(pypi, ("cmeel.prefix/lib/libmimalloc.so.4", b"another"))
    outcome = fetch._Fetcher(folder).outcome(
        AllocatorRow(
            "mimalloc", "mimalloc", library=Library(files=("libmimalloc.so.3",)), get={"pypi": "cmeel-mimalloc"}
        )
    )
    assert outcome.reason == "PyPI cmeel-mimalloc 3.9.9 has no libmimalloc.so.3"
    assert (folder / "mimalloc" / "libmimalloc.so.3").read_bytes() == b"old"


def test_a_name_that_has_no_package_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "glibc"]) == 2
    assert "peers glibc: not one that can be got; valid are " in capsys.readouterr().err


def test_every_peer_that_is_compared_can_be_got() -> None:
    for row in declared().allocators.values():
        if row.library is not None and row.library.files:
            assert row.get, f"{row.name}: no package is declared"
