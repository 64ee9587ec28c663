"""The three pictures of docs/overview.md, as SVG: narrow enough for a telephone, light or dark as the reader's system.

python ci/pictures.py            writes docs/assets/*.svg
python ci/pictures.py --check    fails when they are not the present ones
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "docs" / "assets"
WIDTH = 380
LINE = 17
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1b1f24; text-anchor: middle }
.small { font-size: 12px; fill: #4a5460 } .left { text-anchor: start } .name { font-weight: 600 }
rect { fill: #eef3f6; stroke: #7b8b99; rx: 5 }
.front { fill: #dcefe8 } .middle { fill: #e3e9f8 } .back { fill: #f6ead8 }
.live { fill: #2f7d63; stroke: none } .free { fill: none; stroke: #9aa7b2 } .gone { fill: none; stroke-dasharray: 4 3 }
path { fill: none; stroke: #4a5460; stroke-width: 1.5 } .head { fill: #4a5460; stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #e8edf2 } .small { fill: #b4c0cb } rect { fill: #2a323a; stroke: #8797a5 }
.front { fill: #1f4337 } .middle { fill: #2b3860 } .back { fill: #54401f } .live { fill: #6fcfae }
.free, .gone { fill: none } path { stroke: #b4c0cb } .head { fill: #b4c0cb }
}"""


class Picture:
    """Boxes, words and arrows, one after the other."""

    def __init__(self, height: int, tells: str) -> None:
        self.height, self.tells = height, tells
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """A line of text, whose baseline is at y."""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>')

    def rect(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A rectangle without words."""
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{kind}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str, name: str, *lines: str) -> None:
        """A rectangle with a name and lines below it, in its middle."""
        self.rect(x, y, width, height, kind)
        top = y + height / 2 - (len(lines) * LINE) / 2 + 4.5
        self.text(x + width / 2, top, name, "name")
        for i, line in enumerate(lines, 1):
            self.text(x + width / 2, top + i * LINE, line, "small")

    def arrow(self, x: float, y: float, to_x: float, to_y: float, words: str = "", side: int = 1) -> None:
        """A straight arrow, down, up or across, with words beside it."""
        self.parts.append(f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}"/>')
        across, down = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
        ends = [(to_x - 8 * across - 4 * down * s, to_y - 8 * down - 4 * across * s) for s in (1, -1)]
        corners = "L".join(f"{a:g} {b:g}" for a, b in [(to_x, to_y), *ends])
        self.parts.append(f'<path class="head" d="M{corners}z"/>')
        if words:
            at = ((x + to_x) / 2, y - 6) if across else (x + 7 * side, (y + to_y) / 2 + 4)
            self.text(*at, words, "small" if across else "small left")

    def svg(self) -> str:
        """The picture as a file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
            f'height="{self.height}" role="img"><title>{escape(self.tells)}</title>'
        )
        return "\n".join([head, f"<style>{STYLE}</style>", *self.parts, "</svg>", ""])


def tiers() -> Picture:
    """From the threads down to the kernel."""
    p = Picture(432, "Four tiers: heaps of threads, slots, page heap, kernel; memory moves between neighbours")
    for x, thread in ((6, "A"), (202, "B")):
        p.box(x, 8, 172, 62, "front", f"heap of thread {thread}", "bins | home array", "no lock")
    for x, number in ((6, 0), (202, 1)):
        p.arrow(x + 50, 146, x + 50, 72, "refill")
        p.arrow(x + 116, 72, x + 116, 146, "home")
        p.box(
            x,
            148,
            172,
            62,
            "middle",
            f"slot {number}, of CPU {number}",
            "a shelf of spans per class",
            "a lock per shelf",
        )
    p.text(190, 228, "a slot steals spans before memory grows", "small")
    p.arrow(60, 212, 60, 258)
    p.arrow(320, 258, 320, 212)
    p.text(190, 248, "whole spans", "small")
    p.box(6, 260, 368, 44, "back", "transfer cache", "empty spans by length, a lock per length")
    p.arrow(120, 306, 120, 334, "runs of slices")
    p.arrow(300, 334, 300, 306)
    p.box(6, 336, 368, 44, "back", "page heap", "segments of 64 slices as bitmaps, one lock")
    p.arrow(120, 382, 120, 410, "pages, by madvise")
    p.arrow(300, 410, 300, 382, "by faults")
    p.text(190, 426, "kernel", "name")
    return p


def freeing() -> Picture:
    """The way of a freed block."""
    p = Picture(428, "A free: the tag tells the slot; an object of the own slot goes into a bin, another one goes home")
    p.text(190, 20, "free(p)", "name")
    p.arrow(190, 26, 190, 48)
    p.box(70, 50, 240, 44, "front", "tag of p's slice", "tells slot and size class")
    p.arrow(100, 96, 100, 140, "my slot")
    p.arrow(280, 96, 280, 140, "another")
    p.box(6, 142, 178, 44, "front", "bin", "a pointer on top; done")
    p.box(202, 142, 172, 44, "front", "home array", "up to 256 objects")
    p.arrow(100, 188, 100, 236, "bin is full")
    p.arrow(280, 188, 280, 236, "array is full")
    p.box(6, 238, 368, 44, "middle", "bitmap of the span", "one atomic OR brings up to 64 objects home")
    p.arrow(190, 284, 190, 326, "span is whole, or worth a visit")
    p.box(6, 328, 178, 62, "middle", "shelf", "lock is free: it looks,", "a whole span leaves")
    p.arrow(186, 359, 200, 359)
    p.box(202, 328, 172, 62, "middle", "hint", "lock is taken: its", "holder looks later")
    p.text(190, 416, "Most frees end at the bin: 20 instructions, no lock.", "small")
    return p


def returning() -> Picture:
    """Memory on its way back to the kernel."""
    p = Picture(
        404, "After a burst: whole spans become dirty slices and go back; empty pages inside used spans go back too"
    )

    def pages(y: float, live: set[int], gone: set[int]) -> None:
        for i in range(8):
            p.rect(8 + 46 * i, y, 42, 40, "gone" if i in gone else "middle")
            for k in range(6):
                alive = i * 6 + k in live
                if i not in gone:
                    p.rect(12 + 46 * i + k % 3 * 12, y + 6 + k // 3 * 16, 9, 11, "live" if alive else "free")

    few = {1, 9, 30}
    p.text(8, 20, "A burst: two spans of four pages, all objects live", "left")
    pages(30, set(range(48)), set())
    p.arrow(28, 76, 28, 108, "most objects are freed")
    p.text(8, 126, "All pages stay resident for now", "left")
    pages(136, few, set())
    p.arrow(28, 182, 28, 214, "250 ms without a refill: page return")
    p.text(8, 232, "Pages without a live object went back", "left")
    pages(242, few, {2, 3, 4, 6, 7})
    p.arrow(28, 288, 28, 320, "the last object of the right span comes home")
    p.text(8, 338, "The whole span leaves; two passes purge its slices", "left")
    pages(348, {1, 9}, {2, 3, 4, 5, 6, 7})
    return p


PICTURES: dict[str, Callable[[], Picture]] = {"tiers.svg": tiers, "freeing.svg": freeing, "returning.svg": returning}


def main(check: bool) -> int:
    """Write the pictures, or tell which of them are old."""
    old = []
    for name, draw in PICTURES.items():
        text = draw().svg()
        if not check:
            (OUT / name).write_text(text, encoding="utf-8")
        elif not (OUT / name).exists() or (OUT / name).read_text(encoding="utf-8") != text:
            old.append(name)
    if old:
        print(f"python ci/pictures.py: not the present ones: {', '.join(old)}", file=sys.stderr)
    return bool(old)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
