"""The model and the core take the same atomic steps, in the same order of their text, with the same memory orders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .orders import STEPS
from .source import CORE, Modelled, Source, modelled

METHODS = modelled()
SOURCE = Source(frozenset(METHODS))


@pytest.mark.parametrize("function", METHODS)
def test_function_is_modelled_step_by_step(function: str) -> None:
    assert Modelled().atoms(METHODS[function]) == SOURCE.atoms(function)


def test_each_function_that_takes_steps_is_modelled() -> None:
    others = {name for name in SOURCE.functions if name not in METHODS and any(SOURCE.atoms(name))}
    assert others == {
        # Parts of functions that are modelled:
        *("span_form", "span_set_state", "span_state", "span_claim", "arena_span_new", "tag_now", "tag_of_slice"),
        *("object_span", "objects_free", "unit_is_free"),
        # Before the protocol: an address is looked up by whatever holds the object.
        *("object_locate", "object_span_of"),
        *("batch_make_room", "batch_return", "span_return_pages"),
        # Slices: the page heap's lock, and a batch of which they are a part.
        *("batch_settle", "batch_add_slices"),
        # The look-up of statistics and of checks.
        "span_has_free",
    }


def test_each_step_is_taken() -> None:
    taken = {atom for method in METHODS.values() for atom in Modelled().atoms(method) if not isinstance(atom, str)}
    listed = {(step.word, step.kind, step.code) for step in STEPS if not step.name.startswith("lock")}
    assert taken == listed


@pytest.mark.parametrize(
    ("function", "steps"),
    [
        ("lock_try", ["rt_swap_if_u32"]),
        ("lock_take", ["rt_swap_if_u32", "lock_wait"]),
        ("lock_drop", ["rt_exchange_u32"]),
    ],
)
def test_lock_is_read_modify_write(function: str, steps: list[str]) -> None:
    text = Path(CORE / "base" / "lock.pxd").read_text()
    body = re.search(rf"^cdef inline [^\n]* {function}\(.*?\n\n\n", text, re.M | re.S)
    assert body is not None
    assert re.findall(r"\b(rt_(?:swap|exchange|store|load)\w+|lock_wait)\(", body[0]) == steps
