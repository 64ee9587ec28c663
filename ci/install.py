"""Install into the virtual environment what building, benching and testing rtmalloc need.

    ci/install.py EXTRA...     # extras of pyproject.toml; its build requirements always

The lists come from pyproject.toml, so that there is one place to change them. rtmalloc itself is not
installed: `make build` compiles it in place.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def install(*requirements: str) -> None:
    """pip-install ``requirements`` quietly into the running interpreter's environment."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True
    )


def main(wanted: list[str]) -> None:
    """Install the build requirements and the extras that are ``wanted``."""
    if sys.version_info < (3, 11):
        install("tomli>=2")
        import tomli as tomllib
    else:
        import tomllib
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    install(*project["build-system"]["requires"], *(text for extra in wanted for text in extras[extra]))


main(sys.argv[1:])
