"""Docstrings of what programs import: arguments, results and errors are told."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

MODULES = ("rtmalloc", "rtmalloc.profile", "rtmalloc.numpy", "rtmalloc.prometheus")


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public functions, and the public methods of public classes."""
    for name in MODULES:
        if name == "rtmalloc.numpy":
            pytest.importorskip("numpy")
        module = importlib.import_module(name)
        public = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
        for thing in (getattr(module, n) for n in public):
            if inspect.isfunction(thing) and thing.__module__.startswith("rtmalloc"):
                yield f"{name}.{thing.__name__}", thing
            elif inspect.isclass(thing) and thing.__module__.startswith("rtmalloc"):
                for method in vars(thing).values():
                    plain = getattr(method, "__func__", method)
                    if inspect.isfunction(plain) and not plain.__name__.startswith(("_", "from_numbers")):
                        yield f"{name}.{thing.__name__}.{plain.__name__}", plain


@pytest.mark.parametrize("function", [pytest.param(f, id=n) for n, f in functions()])
def test_a_docstring_tells_arguments_and_errors(function: Callable[..., Any]) -> None:
    text = inspect.getdoc(function) or ""
    source = inspect.getsource(function)
    parameters = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    told = text.partition("Args:")[2]
    assert not [name for name in parameters if not re.search(rf"^\s+\*{{0,2}}{name}: \S", told, re.MULTILINE)]
    assert "Raises:" in text or not re.search(r"^\s+raise \w", source, re.MULTILINE)
