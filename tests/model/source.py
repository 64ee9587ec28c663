"""The atomic steps of the core's source, and those of the model's, in one form: to be compared function by function.

Both sides are read as text. A function of the core becomes the sequence of its atomic accesses, locks, and calls of
other functions that the model has as well; a call of any other function is replaced by what that one does. A method of
the model becomes the same sequence, with all rules on. Statistics and the page return's hints are left out.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from .orders import STEPS, Kind, Order, Step, Word
from .protocol import ThreadPrograms
from .rules import Rules

CORE = Path(__file__).parents[2] / "rtmalloc" / "core"
SPANS = ("spans/span", "spans/shelf", "spans/slot", "spans/formation", "spans/object")
FILES = (*SPANS, "giveback/batch", "giveback/page_return", "pages/tag", "pages/arena")
FUNCTION = r"^cdef inline [^\n]*?(\w+)\((?:[^)]|\n)*?\) noexcept nogil:\n((?:[ \t].*\n|\n)*)"
LOCKS = ("lock_try", "lock_take", "lock_sleep", "lock_drop")
WORDS = (
    (r"bits\b", Word.BITS),
    (r"s\.state\b", Word.STATE),
    (r"tag_place", Word.TAG),
    (r"\.index\b", Word.INDEX),
    (r"s\.objects\b", Word.OBJECTS),
    (r"\.hints\[", Word.HINT),
)
NOT_THE_PROTOCOLS = (
    r"&(s\.(fresh|quiet|size|class_|returned)|shelf\.count|a\.(\w+_wanted|slice_count|tags))\b|<.*&s\.bits"
)
GUESSES = ("unit_is_free",)  # a look that holds nothing: the model tries every page instead
OTHER_LOCKS = ("batch_settle",)  # the page heap's, behind the protocol's steps
KINDS = {"load": Kind.LOAD, "store": Kind.STORE}
SPELLED = {"RELAXED": Order.RELAXED, "ACQUIRE": Order.ACQUIRE, "RELEASE": Order.RELEASE, "SEQ_CST": Order.SEQ_CST}
STEP = {step.name: step for step in STEPS}
Atom = tuple[Word, Kind, Order] | str


def functions() -> dict[str, str]:
    """The bodies of the core's functions that the protocol consists of."""
    found = {}
    for name in FILES:
        text = re.sub(r"#.*", "", (CORE / f"{name}.pxd").read_text())
        for match in re.finditer(FUNCTION, text, re.M):
            found[match[1]] = match[2]
    return found


def primitives() -> dict[str, tuple[Order, ...]]:
    """The orders in base/atomics.h of each primitive, without the suffix of its type."""
    text = (CORE / "base" / "atomics.h").read_text().replace("\\\n", "")
    found = {}
    for match in re.finditer(r"\b(rt_\w+?)(?:_##suffix|_u64)\([^;{]*\{[^}]*?__atomic_(\w+)\(([^;]*)\);", text):
        found[match[1]] = tuple(SPELLED[name] for name in re.findall(r"__ATOMIC_(\w+)", match[3]))
    return found


class Source:
    """The core's side."""

    def __init__(self, modelled: frozenset[str]) -> None:
        """`modelled`: the functions whose calls stay calls."""
        self.modelled = modelled
        self.functions = functions()
        self.primitives = primitives()

    def atoms(self, function: str) -> list[Atom]:
        """What a function does, in the order of its text."""
        return list(self._atoms(self.functions[function]))

    def _atoms(self, body: str) -> Iterator[Atom]:
        for match in re.finditer(r"\b(\w+)\((?=([^\n,]*))", body):
            name = match[1]
            if name in LOCKS or name in self.modelled:
                yield name
            elif name.startswith("rt_"):
                yield from self._primitive(name, match[2])
            elif name in self.functions and name not in (*GUESSES, *OTHER_LOCKS):
                yield from self._atoms(self.functions[name])

    def _primitive(self, name: str, target: str) -> Iterator[Atom]:
        orders = self.primitives.get(re.sub(r"_u(8|16|32|64)$", "", name))
        if orders is None or name.startswith("rt_add") or re.match(NOT_THE_PROTOCOLS, target):
            return
        word = next(word for pattern, word in WORDS if re.search(pattern, target))
        yield word, KINDS.get(name.split("_")[1], Kind.UPDATE), orders[0]
        if len(orders) == 2:
            yield word, Kind.LOAD, orders[1]


def modelled() -> dict[str, str]:
    """The method of the model for each function of the core that its docstring names."""
    found = {}
    for name, method in inspect.getmembers(ThreadPrograms, inspect.isfunction):
        match = re.match(r"(\w+_\w+): ", method.__doc__ or "")
        if match:
            found[match[1]] = name
    return found


class Modelled:
    """The model's side."""

    def __init__(self) -> None:
        self.function_of = {method: function for function, method in modelled().items()}

    def atoms(self, method: str) -> list[Atom]:
        """What a method does, in the order of its text."""
        tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(ThreadPrograms, method))))
        atoms: list[Atom] = []
        for statement in tree.body[0].body:  # type: ignore[attr-defined]
            atoms.extend(self._atoms(statement))
        return atoms

    def _atoms(self, node: ast.AST) -> Iterator[Atom]:
        if isinstance(node, ast.If):
            decided = _decided(node.test)
            if decided is None:
                yield from self._atoms(node.test)
            taken = (node.body if decided is not False else []) + (node.orelse if decided is not True else [])
            for statement in taken:
                yield from self._atoms(statement)
            return
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Assign):
            children.reverse()
        for child in children:
            yield from self._atoms(child)
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Call):
            yield from self._access(node.value)
        elif isinstance(node, ast.YieldFrom) and isinstance(node.value, ast.Call):
            called = node.value.func.attr  # type: ignore[attr-defined]
            yield from [self.function_of[called]] if called in self.function_of else self.atoms(called)

    def _access(self, call: ast.Call) -> Iterator[Atom]:
        name = call.func.id  # type: ignore[attr-defined]
        if name in LOCKS:
            yield name
        for argument in call.args:
            if isinstance(argument, ast.Constant) and argument.value in STEP:
                yield _atom(STEP[argument.value])


def _atom(step: Step) -> Atom:
    return step.word, step.kind, step.code


def _decided(test: ast.AST) -> bool | None:
    """What a condition is when all rules are on; None where that depends on more."""
    if isinstance(test, ast.Attribute) and hasattr(Rules, test.attr):
        return True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _decided(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        parts = [_decided(value) for value in test.values]
        stops = isinstance(test.op, ast.Or)
        if stops in parts:
            return stops
        return None if None in parts else not stops
    return None
