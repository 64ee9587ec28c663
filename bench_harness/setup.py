"""The packages of the laboratory: this folder, which is one itself, and what lies in it."""

from __future__ import annotations

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class WithoutThisFile(build_py):  # type: ignore[misc]  # setuptools has no types
    """``build_py`` that leaves this file out of the package in whose folder it lies."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The modules of a package, as (package, module, file)."""
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "setup"]


setup(
    package_dir={"bench_harness": "."},
    packages=["bench_harness", *(f"bench_harness.{name}" for name in find_packages("."))],
    cmdclass={"build_py": WithoutThisFile},
)
