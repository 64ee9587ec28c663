"""The index of the decision records, from the records themselves.

python ci/decisions.py           writes the table into docs/decisions/index.md
python ci/decisions.py --check   fails when a record is not in order, or the table not the present one
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ci.made import page_with

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "decisions"
INDEX = FOLDER / "index.md"
STATUS = re.compile(r"holds|superseded by \[\d{4}\]\(\d{4}-[\w-]+\.md\)")

_RECORD = re.compile(
    r"# (?P<number>\d{4}) (?P<title>[^\n]+)\n\n"
    r"\| date \| status \| numbers \|\n\|---\|---\|---\|\n"
    r"\| (?P<date>\d{4}-\d\d-\d\d) \| (?P<status>[^|]+) \| (?P<numbers>[^|\n]+) \|\n\n"
    r"## Question\n\n.+\n\n## Numbers\n\n.+\n\n## Choice\n\n.+",
    re.DOTALL,
)


@dataclass(frozen=True)
class Record:
    """One decision: its file, and what stands at its head."""

    file: str
    number: str
    title: str
    date: str
    status: str


def records() -> list[Record]:
    """All records in their order.

    Raises:
        ValueError: one has not the form that all have, or the numbers do not follow each other.
    """
    found = []
    for number, path in enumerate(sorted(FOLDER.glob("[0-9]*.md")), 1):
        match = _RECORD.fullmatch(path.read_text(encoding="utf-8"))
        if match is None or not STATUS.match(match["status"]):
            raise ValueError(f"{path.name}: not title, date, status, question, numbers and choice")
        if match["number"] != f"{number:04}" or not path.name.startswith(f"{number:04}-"):
            raise ValueError(f"{path.name}: number {number:04} is next")
        found.append(Record(path.name, match["number"], match["title"], match["date"], match["status"]))
    return found


def table() -> str:
    """The table of the index."""
    rows = [f"| [{r.number}]({r.file}) | {r.title} | {r.date} | {r.status} |\n" for r in records()]
    return "\n| number | decision | date | status |\n|---|---|---|---|\n" + "".join(rows) + "\n"


def main(check: bool) -> int:
    """Write the index, or tell what is wrong with it."""
    try:
        new = page_with(INDEX, "decisions", table())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        INDEX.write_text(new, encoding="utf-8")
    elif new != INDEX.read_text(encoding="utf-8"):
        print("docs/decisions/index.md is old: python ci/decisions.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
