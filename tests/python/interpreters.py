"""The other CPythons of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def interpreters() -> dict[str, Path]:
    """Every CPython from 3.10 on in PATH and under pyenv: by minor version (as ``3.12``), one of each."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates = sorted(pyenv.glob("versions/3.*/bin/python3"))
    candidates += [Path(path) for n in range(10, 20) if (path := shutil.which(f"python3.{n}"))]
    found: dict[str, Path] = {}
    for candidate in candidates:
        code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.version_info >= (3, 10))"
        asked = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False).stdout.split()
        if len(asked) == 3 and asked[0] == "cpython" and asked[2] == "True":
            found.setdefault(asked[1], candidate)
    return dict(sorted(found.items(), key=lambda item: int(item[0].partition(".")[2])))
