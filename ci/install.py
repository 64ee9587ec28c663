"""Install into the virtual environment what one of the commands of the Makefile needs.

    python ci/install.py build   to compile: Cython and setuptools; and rtmalloc itself, editable
    python ci/install.py bench   to measure: what bench_harness depends on
    python ci/install.py check   to check style and types
    python ci/install.py docs    to build the documentation site
    python ci/install.py test    all of these, and the programs that tests run

The lists are those of pyproject.toml and bench_harness/pyproject.toml, so that there is one place to change them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STEPS = {
    "build": "about 25 MB",
    "bench": "about 300 MB",
    "check": "about 150 MB",
    "docs": "about 60 MB",
    "test": "about 700 MB, with the programs that tests run",
}
"""What to install, and how much it takes."""


def pip(*arguments: str, **variables: str) -> None:
    """Run ``pip install`` in the running interpreter's environment."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, env={**os.environ, **variables})


def project(folder: Path) -> dict[str, Any]:
    """The pyproject.toml of a folder."""
    if sys.version_info < (3, 11):
        pip("--quiet", "tomli>=2")
        import tomli as tomllib
    else:
        import tomllib
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(step: str) -> list[str]:
    """The requirements of a step."""
    ours, laboratory = project(ROOT), project(ROOT / "bench_harness")["project"]
    extras = ours["project"]["optional-dependencies"]
    lists = {
        "build": ours["build-system"]["requires"],
        "bench": laboratory["dependencies"],
        "check": extras["check"],
        "docs": extras["docs"],
        "test": [*laboratory["dependencies"], *laboratory["optional-dependencies"]["dask"], *extras["test"]],
    }
    return [*lists[step], *lists["check"], *lists["docs"]] if step == "test" else list(lists[step])


def main(step: str) -> None:
    """Install what one step needs, and say so first."""
    print(f"==> installing what `{step}` needs into {sys.prefix} ({STEPS[step]})", flush=True)
    pip(*requirements(step))
    if step == "build":
        # Editable, and without what is compiled: `make build` does that in place, and again only where it must.
        editable = ["--no-build-isolation", "--no-deps", "--config-settings", "editable_mode=compat", "--editable"]
        pip("--quiet", *editable, str(ROOT), RTMALLOC_NO_EXTENSIONS="1")
        # (An editable install leaves out what lies beside the packages.)
        shutil.copy2(ROOT / "rtmalloc.pth", sysconfig.get_path("purelib"))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STEPS:
        sys.exit(f"usage: python ci/install.py {'|'.join(STEPS)}")
    main(sys.argv[1])
