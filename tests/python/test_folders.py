"""The package's folders: imports point one way, and each folder says what lives in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rtmalloc

PACKAGE = Path(rtmalloc.__file__).parent

# Bottom up: a module imports from its own folder and from those in front of it.
BASE = ("_core", "_supported", "numpy_handler", "settings", "size_table")
FOLDERS = ("launcher", "observe", "interpreter", "profile", "doctor", "commands")
FACE = ("numpy", "prometheus", "startup", "cli", "__init__", "__main__", "_console")

LINES = 12
"""Of a folder's README, at most."""


def module_of(path: Path) -> str:
    """The dotted name of a file, without the package: ``launcher.launch``, or ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {
    module_of(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in ("core", "lib")
}


def rank(module: str) -> int:
    """The place of a module's folder in the order."""
    head = module.partition(".")[0]
    return (BASE + FOLDERS + FACE).index(head) if head in FOLDERS else 0 if head in BASE else 100 + FACE.index(head)


def imported(path: Path) -> Iterator[str]:
    """The modules of this package that a file names in an import, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # What is imported from a package is a module of it, or else a name in its __init__.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "rtmalloc" or not name.startswith("rtmalloc."):
                continue
            short = name.removeprefix("rtmalloc.")
            while short and short not in MODULES and short not in BASE:
                short = short.rpartition(".")[0]
            yield short or "__init__"


def test_every_module_has_its_place() -> None:
    assert {module.partition(".")[0] for module in MODULES} - {*BASE, *FOLDERS, *FACE} == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    for other in imported(MODULES[module]):
        if other == "__init__":
            assert module.startswith("commands"), f"{module} imports the package's face"
            continue
        own = module.rpartition(".")[0] or module
        if other.partition(".")[0] != own.partition(".")[0]:
            assert rank(other) <= rank(module), f"{module} imports {other}, which lies above it"


def test_there_is_no_circle() -> None:
    graph = {module: {other for other in imported(path) if other != module} for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle of imports: {' -> '.join((*way, module))}"
        if module not in done:
            for other in graph.get(module, ()):
                if other != "__init__":
                    visit(other, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.skipif(not (PACKAGE.parent / "Makefile").exists(), reason="a wheel has no READMEs")
@pytest.mark.parametrize("folder", ["", *FOLDERS])
def test_each_folder_says_what_lives_in_it(folder: str) -> None:
    text = (PACKAGE / folder / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    files = [path.name for path in (PACKAGE / folder).glob("*.py") if path.name != "__init__.py"]
    assert not [name for name in files if f"`{name}`" not in text], "a file is not named"
