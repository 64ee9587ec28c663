"""The map of the core's files in rtmalloc/core/README.md, made from each file's first line.

    python ci/file_map.py            write it
    python ci/file_map.py --check    only tell; exit status 1 if it would change, or a first line is none

A file begins with one sentence on one line that says what it is. The map shows folders bottom up, and in a folder the
files that others need before those others.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ci.made import page_with

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "rtmalloc" / "core"
PAGE = CORE / "README.md"
FOLDERS = ("base", "pages", "spans", "profile", "heaps", "giveback", "calls", "alternatives")
"""Bottom up; ``alternatives`` stands beside them."""
LONGEST = 120
"""Characters of a first line, its comment sign included."""

_CIMPORT = re.compile(r"^from rtmalloc\.core\.([\w.]+) cimport", re.MULTILINE)
_COMMENT = re.compile(r"(?:# |/\* )(.*?\.)(?: \*/)?$")


def core_files() -> list[Path]:
    """The files that people write: generated ones begin with an underscore."""
    files = [path for path in CORE.rglob("*") if path.suffix in (".pxd", ".h") and not path.name.startswith("_")]
    return sorted(files, key=lambda path: path.as_posix())


def cimported(path: Path) -> list[Path]:
    """The core's files that a file takes names from."""
    names = _CIMPORT.findall(path.read_text(encoding="utf-8")) if path.suffix == ".pxd" else []
    return [CORE / (name.replace(".", "/") + ".pxd") for name in names]


def height(path: Path, known: dict[Path, int]) -> int:
    """The longest chain of cimports below a file; a header stands with the ``.pxd`` of its name."""
    if path.suffix == ".h":
        path = path.with_suffix(".pxd")
    if path not in known:
        known[path] = 1 + max((height(other, known) for other in cimported(path)), default=0) if path.exists() else 0
    return known[path]


def first_line(path: Path) -> str:
    """What a file says that it is.

    Raises ValueError where the first line is no sentence in a comment, or too long."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    match = _COMMENT.fullmatch(line)
    if match is None or len(line) > LONGEST:
        raise ValueError(f"{path.relative_to(ROOT)}:1: not one sentence of at most {LONGEST} characters: {line}")
    return match[1]


def file_map() -> str:
    """The tables, one for each folder."""
    known: dict[Path, int] = {}
    files = sorted(core_files(), key=lambda path: (height(path, known), path.stem, path.suffix != ".pxd"))
    unknown = {path.parent.name for path in files} - {*FOLDERS, CORE.name}
    if unknown:
        raise ValueError(f"folders that are not in FOLDERS: {', '.join(sorted(unknown))}")
    parts = ["\n| file | what it is |\n|---|---|\n" + _row(CORE / "types.pxd")]
    for folder in FOLDERS:
        rows = "".join(_row(path) for path in files if path.parent.name == folder)
        parts.append(f"\n**[{folder}]({folder}/README.md)**\n\n| file | what it is |\n|---|---|\n{rows}")
    return "".join(parts) + "\n"


def _row(path: Path) -> str:
    return f"| `{path.name}` | {first_line(path)} |\n"


def main(arguments: list[str]) -> int:
    """Write the map, or tell whether it is the present one."""
    try:
        now = page_with(PAGE, "files", file_map())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if now == PAGE.read_text(encoding="utf-8"):
        return 0
    if "--check" in arguments:
        print(f"{PAGE.relative_to(ROOT)} is not the present map: run python ci/file_map.py", file=sys.stderr)
        return 1
    PAGE.write_text(now, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
