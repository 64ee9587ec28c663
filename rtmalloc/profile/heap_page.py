"""A heap profile for reading: one self-contained HTML page, and one screen of text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rtmalloc.profile.heap_account import OTHERS, PARTS
from rtmalloc.profile.heap_profile import HeapProfile
from rtmalloc.profile.heap_sites import Frame, Site, innermost, life_seconds

NUMBERS = {
    "live bytes": "live_bytes",
    "live blocks": "live_objects",
    "pinned bytes": "pinned_bytes",
    "allocated bytes": "alloc_bytes",
    "allocated blocks": "alloc_objects",
}
"""What the page shows: its name there, and the number of a site."""

_WIDTH = 30
_STEPS = " ▁▂▃▄▅▆▇█"
_MIB = 1 << 20


def _values(site: Site) -> list[int]:
    return [round(getattr(site, name)) for name in NUMBERS.values()]


def _about(profile: HeapProfile) -> str:
    moment = datetime.fromtimestamp(profile.time, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    lost = f"; {profile.left_out} samples found no room" if profile.left_out else ""
    return (
        f"process {profile.pid}, {moment}, {profile.seconds:.0f} s; a followed block stands for "
        f"{profile.interval / 1024:.0f} KiB; {profile.python}, native frames by {profile.native}{lost}"
    )


def as_data(profile: HeapProfile, before: HeapProfile | None = None) -> dict[str, Any]:
    """What the page is made of; with an earlier profile the difference."""
    shown = profile.minus(before) if before else profile
    numbers: dict[Frame, int] = {}
    sites = []
    for site in shown.sites:
        frames = [numbers.setdefault(frame, len(numbers)) for frame in site.frames]
        sites.append({"f": frames, "v": _values(site)})
    account = [{"name": name, "text": PARTS[name], "bytes": n} for name, n in profile.account().parts.items()]
    return {
        "title": f"{profile.program}: what {'has changed' if before else 'holds memory'}",
        "about": _about(shown),
        "difference": before is not None,
        "numbers": list(NUMBERS),
        "frames": [frame.label for frame in numbers],
        "sites": sites,
        "lines": [
            {
                "label": site.frames[0].label,
                "v": _values(site),
                "lives": [round(max(0.0, bytes_)) for bytes_ in site.lives],
                "life": _life(site),
            }
            for site in shown.by_line()
        ],
        "account": account,
    }


def page(profile: HeapProfile, before: HeapProfile | None = None) -> str:
    """The HTML page; it needs nothing from elsewhere."""
    template = Path(__file__).with_name("heap_page.html").read_text(encoding="utf-8")
    # Names come from the program: nothing in them may end the element.
    data = json.dumps(as_data(profile, before)).replace("<", "\\u003c")
    return template.replace("@DATA@", data)


def _duration(seconds: float) -> str:
    """A time for reading."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _life(site: Site) -> str:
    """The median of life times; empty where nothing is gone."""
    return f"< {_duration(site.median_life)}" if site.median_life else ""


def lives(profile: HeapProfile, rows: int = 20) -> str:
    """How long blocks that are gone have lived, as a table for a terminal: by site, the most bytes first."""
    sites = sorted(profile.by_line(), key=lambda site: -site.freed_bytes)[:rows]
    steps = max((len(site.lives) for site in sites), default=0)
    head = f"{'gone':>12}{'half live':>12}  {'from < 4 ms to < ' + _duration(life_seconds(steps - 1)):{steps}}  site"
    lines = [_about(profile), head if steps else "no followed block is gone yet"]
    for site in sites:
        if site.freed_bytes <= 0:
            continue
        most = max(site.lives)
        bars = "".join(_STEPS[-(-8 * max(0, round(bytes_)) // round(most))] for bytes_ in site.lives)
        width = max(steps, len(head.split("  ")[-2].strip()))
        lines.append(f"{site.freed_bytes / _MIB:8.1f} MiB{_life(site):>12}  {bars:{width}}  {site.frames[0].label}")
    return "\n".join(lines)


def _bars(rows: Iterable[tuple[str, float]], scale: float) -> list[str]:
    lines = []
    for text, value in rows:
        bar = "#" * round(_WIDTH * value / scale) if scale > 0 else ""
        lines.append(f"{value / _MIB:10.1f} MiB  {bar:{_WIDTH}}  {text}")
    return lines


def explain(profile: HeapProfile, rows: int = 10) -> str:
    """One screen: how much there is, who holds it, what comes back by itself, what would by ``trim()``, what cannot."""
    account = profile.account()
    parts = account.parts
    lines = [f"{profile.program}, process {profile.pid}: {account.resident / _MIB:.1f} MiB are resident", ""]
    biggest = max(parts.values(), default=0)
    lines += _bars([(f"{name}: {PARTS[name]}", n) for name, n in parts.items() if n >= _MIB / 10], biggest)
    lines += ["", "Who holds blocks (estimated):"]
    sites = profile.by_line()[:rows]
    lines += _bars([(site.frames[0].label, site.live_bytes) for site in sites], sites[0].live_bytes if sites else 0)
    pinning = sorted(profile.by_line(), key=lambda site: -site.pinned_bytes)[: max(1, rows // 3)]
    pinning = [site for site in pinning if site.pinned_bytes >= _MIB / 10]
    if pinning:
        lines += ["", "Whose survivors keep free memory resident (estimated):"]
        lines += _bars([(site.frames[0].label, site.pinned_bytes) for site in pinning], pinning[0].pinned_bytes)
    lines += ["", *_advice(profile, parts)]
    return "\n".join(lines)


def _advice(profile: HeapProfile, parts: Any) -> list[str]:
    """What comes back, and what to do."""
    first = innermost(max(profile.sites, key=lambda site: site.live_bytes, default=Site(())))
    return [
        f"By itself {parts['dirty'] / _MIB:.1f} MiB come back, when the program goes on or has the background thread.",
        f"rtmalloc.trim() would bring that at once, and up to {parts['caches'] / _MIB:.1f} MiB of the caller's bins.",
        f"{(parts['live'] + parts['giants']) / _MIB:.1f} MiB are in use: begin at {first.label}.",
        f"{parts['pinned'] / _MIB:.1f} MiB are free but pinned: shorten the lives of what survives there.",
        f"{sum(parts[name] for name in OTHERS) / _MIB:.1f} MiB are other allocators': nothing here can give them back.",
    ]


def summary(profile: HeapProfile, rows: int = 20) -> str:
    """The holders as a table for a terminal."""
    lines = [_about(profile), f"{'live':>12}{'blocks':>12}{'pinned':>12}{'allocated':>12}  site"]
    for site in profile.by_line()[:rows]:
        lines.append(
            f"{site.live_bytes / _MIB:8.1f} MiB{site.live_objects:12.0f}{site.pinned_bytes / _MIB:8.1f} MiB"
            f"{site.alloc_bytes / _MIB:8.1f} MiB  {site.frames[0].label}"
        )
    return "\n".join(lines)
