"""The packages of the laboratory: this folder, which is one itself, and what lies in it."""

from __future__ import annotations

from setuptools import find_packages, setup

setup(
    package_dir={"bench_harness": "."},
    packages=["bench_harness", *(f"bench_harness.{name}" for name in find_packages("."))],
)
