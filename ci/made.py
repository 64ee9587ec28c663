"""Parts of pages that are made of something else: between ``<!-- made: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

from pathlib import Path


def page_parts(page: Path, name: str) -> tuple[str, str, str]:
    """A page's text up to its part ``name`` with the mark, the part, and the rest from the other mark on.

    Raises:
        ValueError: when the page has no such part.
    """
    begin, end = f"<!-- made: {name} -->\n", "<!-- end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    made, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{page}: the marks {begin.strip()} and {end} are gone")
    return before + begin, made, end + after


def page_with(page: Path, name: str, made: str) -> str:
    """A page's text with ``made``, whole lines, in its part ``name``.

    Raises:
        ValueError: when the page has no such part.
    """
    before, _, after = page_parts(page, name)
    return before + made + after
