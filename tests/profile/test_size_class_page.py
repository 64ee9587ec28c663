"""docs/size-classes.md holds what ci/size_classes.py computes from today's table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("size_classes", ROOT / "ci" / "size_classes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_todays_table() -> None:
    page = (ROOT / "docs" / "size-classes.md").read_text()
    assert script().markdown() in page, "paste what `python ci/size_classes.py draw` prints into docs/size-classes.md"


def test_waste() -> None:
    module = script()
    assert module.waste([16, 32], 16) == 0 and module.waste([16, 32], 17) == 15 / 32
    assert module.waste(module.glibc(), 24, module.header_of("glibc")) == 8 / 32
    assert module.waste(module.glibc(), 25, module.header_of("glibc")) == 23 / 48
    assert max(module.waste(module.ours(), n) for n in range(257, 32769)) <= 1 / 9
