"""Sentences of a Markdown page: what is left when code, tables, headings and pictures are taken away."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"`[^`]*`")
_END = re.compile(r"[.?!](?=[*_)\"']*\s)")


def paragraphs(text: str) -> list[str]:
    """The paragraphs and list items of a page, each as one line."""
    found: list[list[str]] = [[]]
    for line in _FENCE.sub("\n", text).split("\n"):
        if not line.strip() or line.startswith(("#", "|", "<", "![", "    ")):
            found.append([])
            continue
        if _ITEM.match(line):
            found.append([])
            line = _ITEM.sub("", line)
        found[-1].append(line.strip())
    return [" ".join(lines) for lines in found if lines]


def sentences(text: str) -> list[str]:
    """The sentences of a page. A link counts as its text, a code span as one word; a colon ends no sentence."""
    found: list[str] = []
    for paragraph in paragraphs(text):
        plain = _CODE.sub("CODE", _LINK.sub(r"\1", paragraph))
        start = 0
        for match in _END.finditer(plain):
            found.append(plain[start : match.end()].strip())
            start = match.end()
        found.append(plain[start:].strip())
    return [sentence for sentence in found if re.search(r"\w", sentence)]


def words(sentence: str) -> int:
    """How many words a sentence has."""
    return len([word for word in sentence.split() if re.search(r"\w", word)])


def lines(text: str) -> list[str]:
    """The lines of a page outside of code and tables."""
    return [line for line in _FENCE.sub("\n", text).split("\n") if not line.startswith(("|", "    ", "<"))]


def anchors(text: str) -> set[str]:
    """What a link can name behind ``#``: the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ +(.*)$", _FENCE.sub("\n", text), re.MULTILINE)
    plain = [_LINK.sub(r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}
