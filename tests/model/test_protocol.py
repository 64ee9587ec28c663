"""The protocol holds in every scenario; without any of its rules, or with any weaker order, it does not."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from .explorer import Explored, Found, explore
from .layout import Scenario, World
from .mutations import MUTATIONS, NAMED, SPARE, WEAKENED, Mutation
from .orders import NEEDED, STEPS, WEAKER, Order
from .protocol import Protocol
from .rules import Rules
from .scenarios import IN_VIEWS, LONG, SCENARIOS

SPARE_IN = ("free", "refill", "steal", "purge: other", "purge: inside")
DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


def _holds(protocol: Protocol) -> None:
    result = explore(protocol)
    assert isinstance(result, Explored), str(result)
    assert result.ends > 0


SHORT_OR_MARKED = [pytest.param(s, marks=[pytest.mark.soak] if s.name in LONG else []) for s in SCENARIOS]


@pytest.mark.parametrize("scenario", SHORT_OR_MARKED, ids=lambda scenario: scenario.name)
def test_protocol_holds(scenario: Scenario) -> None:
    _holds(Protocol(scenario))


@pytest.mark.parametrize("name", IN_VIEWS)
def test_needed_orders_suffice(name: str) -> None:
    _holds(Protocol(replace(NAMED[name], world=World.VIEWS)))


@pytest.mark.soak
@pytest.mark.parametrize("name", [s.name for s in SCENARIOS if s.name not in (*IN_VIEWS, *LONG)])
def test_needed_orders_suffice_in_long_scenarios(name: str) -> None:
    _holds(Protocol(replace(NAMED[name], world=World.VIEWS)))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: " ".join(mutation.rules))
def test_rule_is_needed(mutation: Mutation) -> None:
    scenario = replace(NAMED[mutation.scenario], world=mutation.world)
    result = explore(Protocol(scenario, replace(Rules(), **dict.fromkeys(mutation.rules, False))))
    assert isinstance(result, Found), f"{mutation.rules} are not needed: {result}"
    assert result.kind == mutation.kind, str(result)


@pytest.mark.parametrize("name", [s.name for s in SCENARIOS if s.name.startswith(SPARE_IN) and s.name not in LONG])
def test_spare_rules_are_not_needed(name: str) -> None:
    _holds(Protocol(NAMED[name], replace(Rules(), **dict.fromkeys(SPARE, False))))


def test_each_rule_has_a_mutation_or_is_spare() -> None:
    mutated = {rule for mutation in MUTATIONS for rule in mutation.rules}
    assert {field.name for field in fields(Rules)} == mutated | set(SPARE)
    assert not mutated & set(SPARE)


@pytest.mark.parametrize(("step", "order", "name"), WEAKENED, ids=str)
def test_order_is_needed(step: str, order: Order, name: str) -> None:
    protocol = Protocol(replace(NAMED[name], world=World.VIEWS), None, {**NEEDED, step: order})
    assert isinstance(explore(protocol), Found)


def test_each_order_is_weakened() -> None:
    weakened = {(step, order) for step, order, _ in WEAKENED}
    assert weakened == {(s.name, order) for s in STEPS for order in WEAKER[s.kind].get(s.needed, ())}


def test_needed_orders_are_no_stronger_than_the_code() -> None:
    for step in STEPS:
        assert step.code.acquires or not step.needed.acquires, step.name
        assert step.code.releases or not step.needed.releases, step.name
        assert step.code == Order.SEQ_CST or step.needed != Order.SEQ_CST, step.name


def test_document_has_the_table_of_orders() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([\w ]+) \| ([\w ]+) \| ([^|]+) \|$", DOCUMENT.read_text(), re.M)
    assert [(name, where, code, needed) for name, where, code, needed, _ in rows] == [
        (step.name, step.where, step.code.name.lower(), step.needed.name.lower()) for step in STEPS
    ]


def test_scenarios_have_names_of_their_own() -> None:
    assert len(NAMED) == len(SCENARIOS)
