"""Write the cimports of the core's files from the names that they use, sorted and wrapped.

    python ci/cimports.py            make them right
    python ci/cimports.py --check    only tell; exit status 1 if a file would change

A name is looked up in the one ``.pxd`` file that defines it. The imports stand in one block behind the file's comment.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "rtmalloc" / "core"
WIDTH = 118
STANDARD = {
    "libc.stdint": ["int8_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t"],
    "libc.string": ["memcmp", "memcpy", "memmove", "memset", "strlen"],
    "cython": ["likely", "unlikely"],
}

_WORD = re.compile(r"[A-Za-z_]\w*")
_IMPORT = re.compile(r"^from ([\w.]+) cimport (?:\(\n((?:.*\n)*?)\)|(.*))\n", re.MULTILINE)
_FUNCTION = re.compile(r"^ *cdef inline [^(=]*?\b(\w+)(?: \"\w+\")?\(", re.MULTILINE)
_STRUCT = re.compile(r"^cdef struct (\w+):", re.MULTILINE)
_ENUM = re.compile(r"^( *)(?:cdef )?enum(?: \w+)?:.*\n((?:(?:\1 +.*)?\n)+)", re.MULTILINE)
_HOOK = re.compile(r"^ *ctypedef .*?\(\*(\w+)\)", re.MULTILINE)
_EXTERN = re.compile(r"^cdef extern from [^\n]*:\n((?:(?: +.*)?\n)+)", re.MULTILINE)


def code_of(text: str) -> str:
    """``text`` without its comments, strings and cimports: what a name must stand in to be used."""
    text = _IMPORT.sub("", text)
    text = re.sub(r'"""(?:.|\n)*?"""', "", text)
    text = re.sub(r'b?"(?:[^"\\\n]|\\.)*"', '""', text)
    text = re.sub(r"#.*", "", text)
    # A field may bear the name of a function.
    return re.sub(r"\.[A-Za-z_]\w*", "", text)


def enum_names(text: str) -> list[str]:
    """The constants of every enum in ``text``."""
    names = []
    for match in _ENUM.finditer(text):
        names += re.findall(r"^\s*(\w+)", match[2], re.MULTILINE)
    return [name for name in names if name != "enum"]


_DECLARED = (
    re.compile(r"ctypedef struct (\w+)"),
    re.compile(r"ctypedef .*\(\*(\w+)\)"),
    re.compile(r'ctypedef [\w* ]*?(\w+) "\w+"'),
    re.compile(r'(?!enum)[\w* ]+?\b(\w+)(?: "[\w.]+")?(?:\(|\[|$)'),
)
"""What a line of ``cdef extern`` may be: a struct, a function's type, a type with a C name, a function or variable."""


def extern_names(text: str) -> list[str]:
    """The functions, variables and types that blocks of ``cdef extern`` declare."""
    names = []
    for match in _EXTERN.finditer(text):
        block = re.sub(r'"""(?:.|\n)*?"""', "", match[1])
        depth = min((len(line) - len(line.lstrip()) for line in block.splitlines() if line.strip()), default=4)
        for line in block.splitlines():
            if not line.strip() or len(line) - len(line.lstrip()) != depth:
                continue
            line = re.sub(r"#.*", "", line).strip()
            matches = (pattern.match(line) for pattern in _DECLARED)
            names += [match[1] for match in matches if match][:1]
    return names


def names_defined(text: str) -> set[str]:
    """Every name that a file defines for others."""
    text = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
    found = [*_FUNCTION.findall(text), *_STRUCT.findall(text), *_HOOK.findall(text)]
    return {*found, *enum_names(text), *extern_names(text)}


def modules() -> dict[str, Path]:
    """The core's modules by their full names."""
    paths = [path for path in sorted(CORE.rglob("*.pxd")) if path.name != "__init__.pxd"]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def index_of(known: dict[str, Path]) -> dict[str, str]:
    """For each name the module that defines it."""
    index: dict[str, str] = {name: module for module, names in STANDARD.items() for name in names}
    for module, path in known.items():
        for name in names_defined(path.read_text()):
            if index.get(name, module) != module:
                raise SystemExit(f"error: {name} is defined in {index[name]} and in {module}")
            index[name] = module
    return index


def import_lines(module: str, names: list[str]) -> str:
    """One cimport statement, wrapped at WIDTH."""
    names = sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    line = f"from {module} cimport {', '.join(names)}\n"
    if len(line) <= WIDTH + 1:
        return line
    rows, row = [], "   "
    for name in names:
        if len(row) + len(name) + 2 > WIDTH:
            rows.append(row)
            row = "   "
        row += f" {name},"
    return f"from {module} cimport (\n" + "\n".join([*rows, row]) + "\n)\n"


def import_block(text: str, module: str, index: dict[str, str], own: set[str]) -> str:
    """The cimports that the code of ``text`` needs."""
    wanted: dict[str, list[str]] = {}
    for name in sorted(set(_WORD.findall(code_of(text)))):
        if name in index and index[name] != module and name not in own:
            wanted.setdefault(index[name], []).append(name)
    groups: list[list[str]] = [[], [], []]
    for source in sorted(wanted):
        place = 0 if source.startswith("libc.") else 1 if source == "cython" else 2
        groups[place].append(import_lines(source, wanted[source]))
    return "\n".join("".join(group) for group in groups if group)


def text_made(text: str, module: str, index: dict[str, str]) -> str:
    """``text`` with its block of cimports written anew."""
    block = import_block(text, module, index, names_defined(text))
    body = _IMPORT.sub("", text)
    head = re.match(r"(?:#.*\n|# cython.*\n)*", body)
    assert head is not None
    rest = body[head.end() :].lstrip("\n")
    gap = "\n\n" if re.match(r"cdef inline|cdef \w+_(?:void|pointer|int) ", rest) else "\n"
    return head[0] + block + (gap if block else "\n") + rest if rest else head[0] + block


def main(arguments: list[str]) -> int:
    """Write or check all files; the exit status."""
    known = modules()
    index = index_of(known)
    wrong = []
    for module, path in known.items():
        if path.name.startswith("_") or path.name == "types.pxd":
            continue
        text = path.read_text()
        made = text_made(text, module, index)
        if made != text:
            wrong.append(str(path.relative_to(ROOT)))
            if "--check" not in arguments:
                path.write_text(made)
    for name in wrong:
        print(f"{name}: cimports {'differ' if '--check' in arguments else 'written'}")
    return 1 if wrong and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
