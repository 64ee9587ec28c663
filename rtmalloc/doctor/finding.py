"""What a check finds, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"
"""Levels: nothing to do; works, but not as well as it could; does not work."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    level: str
    """``"ok"``, ``"note"`` or ``"problem"``."""
    text: str
    """What is the case, one sentence."""
    fix: str = ""
    """What to do about it; empty when there is nothing to do."""


def as_text(findings: list[Finding]) -> str:
    """One line per finding, with what to do below the ones that need it."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:8} {finding.name:{width}}  {finding.text}")
        if finding.fix:
            lines.append(f"{'':8} {'':{width}}  -> {finding.fix}")
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> str:
    """The findings as a JSON array of objects."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)
