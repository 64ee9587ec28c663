"""``rtmalloc run --config FILE``: FILE's table of size classes, compiled, where the program can read it.

The program reads its table when it starts, and so does each program that it starts later, perhaps as another user. So
the compiled file stays, readable for all, in a directory in which only this user can write. A hash of its content is in
its name, so that two tables never share a file and one table never needs two.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator

from rtmalloc import _core
from rtmalloc.settings import check_config
from rtmalloc.size_table import COMPILED_MAGIC, TableError, table_compile, table_parse


def compile_file(path: str) -> bytes:
    """A table file, checked and compiled for this build.

    Args:
        path: of a TOML file like ``rtmalloc.toml``.

    Raises:
        TableError: names the file, the line and the rule that it breaks.
        OSError: when it cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        try:
            table = table_parse(file.read(), name=path)
        except UnicodeDecodeError:
            raise TableError(f"{path}:1: not TOML: it is no text", 1, "toml") from None
    if table.sizes[-1] > _core.largest_small():
        raise TableError(
            f"{path}:1: the largest block, {table.sizes[-1]}, is larger than this build has room for, "
            f"{_core.largest_small()}",
            1,
            "largest",
        )
    return table_compile(table, _core.slice_bytes())


def compiled_path(path: str) -> str:
    """The path of a compiled table for the program that is about to start.

    Args:
        path: of a table file, or of one that is compiled already.

    Returns:
        An absolute path: of a file in the cache, or ``path`` itself when it is compiled.

    Raises:
        ValueError: when the table breaks a rule, or is damaged.
        OSError: when it cannot be read, or no directory can be written.
    """
    with open(path, "rb") as file:
        if file.read(4) == COMPILED_MAGIC.to_bytes(4, "little"):
            check_config(path)
            return os.path.abspath(path)
    data = compile_file(path)
    # No comma: RTMALLOC_OPTIONS could not hold it.
    stem = re.sub(r"[^\w-]", "_", os.path.splitext(os.path.basename(path))[0])
    name = f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}.classes"
    refusals = []
    for directory in _directories():
        try:
            return _keep(directory, name, data)
        except OSError as error:
            refusals.append(f"{directory} ({error.strerror})")
    raise OSError(
        f"{path}: the compiled table can be kept nowhere: {', '.join(refusals)}: "
        "write it yourself by `rtmalloc classes compile`, and name that file"
    )


def _directories() -> Iterator[str]:
    """Where to keep it, the best place first: a home may be read-only or missing, and root's is closed to others."""
    home = "/var/cache" if os.getuid() == 0 else os.path.join(os.path.expanduser("~"), ".cache")
    yield os.path.join(os.environ.get("XDG_CACHE_HOME") or home, "rtmalloc")
    for shared in (os.environ.get("TMPDIR") or "/tmp", "/var/tmp", "/dev/shm"):
        yield os.path.join(shared, f"rtmalloc-tables-{os.getuid()}")


def _keep(directory: str, name: str, data: bytes) -> str:
    """Put the file there unless it is there already; its path.

    Raises:
        OSError: when that cannot be, or somebody else could write there.
    """
    os.makedirs(directory, mode=0o755, exist_ok=True)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(1, "not a directory in which this user alone can write")
    path = os.path.join(directory, name)
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return path
    except FileNotFoundError:
        pass
    fresh = f"{path}.{os.getpid()}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "wb") as file:
        file.write(data)
    os.replace(fresh, path)
    return path
