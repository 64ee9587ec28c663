"""`bench-harness ablate`: two passes over every chosen switch, then the list of ideas with its measured columns."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench_harness.ablation.declaration import Declaration, Item, read, select
from bench_harness.ablation.effects import SwitchEffects, effects_of
from bench_harness.ablation.sides import chosen_of, contenders_of, groups_of
from bench_harness.ablation.text import markdown, print_effects, print_list
from bench_harness.errors import HarnessError, UsageError
from bench_harness.measuring import store
from bench_harness.measuring.catalogue import find_workloads
from bench_harness.measuring.plan import Plan, settings_of
from bench_harness.measuring.run import expected_seconds, make_header
from bench_harness.measuring.store import Journal, Results
from bench_harness.native.build import build_cells
from bench_harness.peers.allocators import find_allocators
from bench_harness.reporting.progress import duration
from bench_harness.verdicts import analysis

__all__ = ["Measure", "ablate", "again"]

EXIT_INTERRUPTED = 130

Measure = Callable[[Plan, argparse.Namespace, Console, Path], Results | None]


def again(path: Path) -> Path:
    """The result file of the confirming repeat: `results/ablation.json` gives `results/ablation-again.json`."""
    return path.with_name(f"{path.stem}-again{path.suffix}")


def ablate(arguments: argparse.Namespace, console: Console, measure: Measure) -> int:
    """Run the command.

    Args:
        arguments: as `arguments.py` declares them.
        console: where tables go.
        measure: runs a plan into a file; None when the user interrupted it.
    Returns:
        0, or 130 when interrupted.
    Raises:
        UsageError: there is no such idea, or a variant or an option is missing.
        HarnessError: a file cannot be read, or two that belong together do not fit.
    """
    build_cells(log=lambda line: console.print(line, markup=False))
    declaration = read(arguments.rows, find_workloads())
    items = select(declaration.items, arguments.ideas)
    if arguments.list:
        print_list(console, items)
        return 0
    if arguments.show:
        found, seen = _shown(declaration, items, arguments)
    else:
        measured = _measured(declaration, items, arguments, console, measure)
        if measured is None:
            return EXIT_INTERRUPTED
        found, seen = effects_of(declaration, items, *measured), [r for r in measured if r is not None]
    _present(found, seen, arguments, console)
    return 0


def _plan(declaration: Declaration, items: Sequence[Item], arguments: argparse.Namespace) -> Plan:
    contenders = contenders_of(declaration, items, find_allocators())
    return Plan(
        groups=groups_of(items),
        contenders=tuple(contenders.values()),
        repeat=arguments.repeat,
        max_repeat=arguments.repeat,
        precision=0.0,
        **settings_of(arguments),
        interpreter=Path(sys.executable),
        chosen=chosen_of(declaration, items),
    )


def _announce(plan: Plan, items: Sequence[Item], passes: int, console: Console) -> None:
    """What is to come, before anything is measured."""
    cells = [cell for number in range(plan.repeat) for cell in plan.cells(number, plan.groups)]
    switches = sum(len(item.switches) for item in items)
    console.print(
        f"{switches} switches of {len(items)} ideas, {len(plan.groups)} groups of cells, "
        f"{len(cells) // plan.repeat} cells a round, {plan.repeat} rounds, {passes} pass{'es' if passes > 1 else ''}: "
        f"about {duration(expected_seconds(plan, cells) * passes)} in all; ctrl-C keeps what is done, --resume goes on",
        markup=False,
        soft_wrap=True,
    )


def _finished(plan: Plan, target: Path) -> Results | None:
    """The results of this very plan if an earlier, resumed run has completed it; None while cells are missing."""
    if not target.exists() or Journal(target).path.exists():
        return None
    results = store.load(target)
    cells = store.resumable(results, make_header(plan, ()), target)
    done = {(c["label"], c["threads"], c["contender"], c["round"]) for c in cells}
    wanted = {cell.key for number in range(plan.repeat) for cell in plan.cells(number, plan.groups)}
    return results if wanted <= done else None


def _measured(
    declaration: Declaration, items: Sequence[Item], arguments: argparse.Namespace, console: Console, measure: Measure
) -> tuple[Results, Results | None] | None:
    """Both passes, of which `--confirm` replaces the second; None when interrupted."""
    plan = _plan(declaration, items, arguments)
    confirming = store.load(arguments.confirm) if arguments.confirm else None
    if confirming is not None:
        _same_binaries(make_header(plan, ()), confirming, arguments.confirm)
    _announce(plan, items, 1 if confirming is not None else 2, console)
    target = arguments.json
    if not arguments.resume:
        # What an older run left must not be taken for this run's second pass.
        again(target).unlink(missing_ok=True)
        Journal(again(target)).remove()
    passes: list[Results] = []
    # The repeat runs the same cells in another shuffled order.
    for number, path in enumerate([target] if confirming is not None else [target, again(target)]):
        of_pass = dataclasses.replace(plan, seed=plan.seed + number)
        results = _finished(of_pass, path) if arguments.resume else None
        results = results or measure(of_pass, arguments, console, path)
        if results is None:
            return None
        passes.append(results)
    return (passes[0], confirming) if confirming is not None else (passes[0], passes[1])


def _same_binaries(header: dict[str, object], other: Results, path: Path) -> None:
    """A repeat with other binaries, or on another machine, confirms nothing."""
    mine, theirs = header["allocators"], other.header["allocators"]
    assert isinstance(mine, dict)
    for name in mine.keys() & theirs.keys():
        if mine[name]["sha256"] != theirs[name]["sha256"]:
            raise HarnessError(f"--confirm {path}: {name} is another binary there; measure both passes anew")
    machines = header["machines"]
    assert isinstance(machines, dict)
    if machines.keys() != other.machines.keys():
        raise HarnessError(f"--confirm {path}: it is of another machine type")


def _whole_or_begun(path: Path) -> Results:
    """A result file, or what the journal of an interrupted run has so far."""
    begun = None if path.exists() else Journal(path).read()
    return analysis.one_machine(begun if begun is not None else store.load(path))


def _shown(
    declaration: Declaration, items: Sequence[Item], arguments: argparse.Namespace
) -> tuple[list[SwitchEffects], list[Results]]:
    """The effects in result files that are there already, each switch from the last file that has its cells."""
    if arguments.confirm and len(arguments.show) > 1:
        raise UsageError("--confirm: with one file to --show; several bring their own repeats")
    by_switch: dict[str, SwitchEffects] = {}
    seen: list[Results] = []
    for path in arguments.show:
        first = _whole_or_begun(path)
        repeat = arguments.confirm or again(path)
        there = arguments.confirm or repeat.exists() or Journal(repeat).path.exists()
        second = _whole_or_begun(repeat) if there else None
        if second is not None:
            _same_binaries(first.header, second, repeat)
        seen += [results for results in (first, second) if results is not None]
        for effects in effects_of(declaration, items, first, second):
            if effects.measured:
                by_switch[effects.switch.name] = effects
    missing = [s.name for item in items for s in item.switches if s.name not in by_switch]
    if missing:
        files = ", ".join(map(str, arguments.show))
        raise UsageError(
            f"--show {files}: no cells of the switches {', '.join(missing)}; name those that are to be shown"
        )
    return [by_switch[s.name] for item in items for s in item.switches], seen


def _present(
    found: Sequence[SwitchEffects], seen: Sequence[Results], arguments: argparse.Namespace, console: Console
) -> None:
    disturbed = max((analysis.disturbed_share(results) for results in seen), default=0.0)
    print_effects(console, found, disturbed, arguments.details)
    from bench_harness.ablation.picture import draw_ablation  # matplotlib takes a second to import

    files = draw_ablation(found, arguments.plots, "What each idea is worth")
    console.print(f"pictures: {', '.join(map(str, files))}", markup=False, soft_wrap=True)
    if arguments.markdown is not None:
        arguments.markdown.write_text(markdown(found, disturbed, arguments.details))
        console.print(f"table: {arguments.markdown}", markup=False, soft_wrap=True)
