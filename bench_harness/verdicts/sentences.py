"""The verdict in words: who is fastest, who is smallest, and only where the data carries it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from bench_harness import statistics
from bench_harness.verdicts.analysis import GroupRows, Row, geometric_means

__all__ = ["sentences", "winner"]


def winner(group: GroupRows, field: str, more_is_better: bool) -> tuple[str | None, bool]:
    """The contender with the best median of `field`, and whether it is significantly ahead of the second.

    Args:
        group: the competitors.
        field: "throughput" or "peak_rss_bytes".
        more_is_better: the direction.
    Returns:
        (None, False) when nobody ran.
    """
    ran = [row for row in group.competitors if row.series(field)]
    if not ran:
        return None, False

    def median(row: Row) -> float:
        return statistics.summarise(list(row.series(field).values())).median

    order = sorted(ran, key=median, reverse=more_is_better)
    if len(order) == 1:
        return order[0].contender, False
    # Against every other one, with the errors of these comparisons controlled together.
    against = statistics.control_errors(
        [statistics.compare(order[0].series(field), other.series(field)) for other in order[1:]]
    )
    return order[0].contender, all(c is not None and c.significant is True for c in against)


def _tally(groups: Sequence[GroupRows], field: str, more: bool, what: str) -> list[str]:
    firsts: Counter[str] = Counter()
    clear: Counter[str] = Counter()
    for group in groups:
        name, ahead = winner(group, field, more)
        if name is not None:
            firsts[name] += 1
            clear[name] += ahead
    return [
        f"{name} {what} in {count} of {len(groups)} cell{'s' if len(groups) != 1 else ''}, "
        + (
            f"significantly ahead of all others in {clear[name]}"
            if clear[name]
            else "nowhere significantly ahead of all"
        )
        for name, count in firsts.most_common()
    ]


def _compared(groups: Sequence[GroupRows]) -> list[str]:
    """Who is ahead, and the means."""
    said = _tally(groups, "throughput", True, "is fastest")
    said += _tally(groups, "peak_rss_bytes", False, "has the smallest peak RSS")
    means = geometric_means(groups)
    said += [
        f"{m.contender} against {m.base}, geometric mean over {m.groups} cells: "
        f"{_times(m.throughput)} the throughput, {_times(m.peak_rss)} the peak RSS"
        for m in means
    ]
    return said if means or not groups else [*said, "no geometric mean: no cell in which every allocator ran"]


def sentences(groups: Sequence[GroupRows]) -> list[str]:
    """What the measurements say, most important first; failures are never left out.

    With fewer rounds than a test needs, nothing is said of who is ahead.
    """
    rounds = min((g.rounds for g in groups), default=0)
    said = _compared(groups) if rounds >= statistics.FEWEST_ROUNDS else []
    failures = [(g, r) for g in groups for r in g.competitors if r.failures]
    said += [f"{r.contender} failed in {g.title}: {r.failures[0]}" for g, r in failures]
    if rounds < statistics.FEWEST_ROUNDS:
        said.append(
            f"with {rounds} round{'s' if rounds != 1 else ''} no significance can be claimed; "
            f"{statistics.FEWEST_ROUNDS} are the fewest"
        )
    return said


_times: Callable[[float], str] = "{:.2f} x".format
