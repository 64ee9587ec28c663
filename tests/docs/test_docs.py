"""The documentation is plain, short and true of what is in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from .prose import anchors, lines, sentences, words

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "rtmalloc" / "core"
LAYERS = ("base", "pages", "spans", "profile", "heaps", "giveback", "calls", "alternatives")
MADE = {"ablation.md", "measurements.md", "measurements-python.md"}
"""Pages that commands of the laboratory write."""

MEAN, LONGEST, LINE = 15, 25, 100
"""Words of a sentence, on average over a page and at most; characters of a line of prose."""
ALL_WORDS = 20_000
"""Of README.md and docs/, with the pages that the laboratory writes, without tables that are made of files."""
OVERVIEW_WORDS = 600
FOLDER_LINES = 12
GLOSSARY = {
    "bin", "span", "slice", "segment", "slot", "shelf", "beat", "tick", "epoch", "pass", "purge", "return",
}  # fmt: skip

GONE = ("mailbox", "owned span", "central store", "refill_percent", "shard-off", "central_", "budget.pxd", "entry.pxd")
"""What the allocator had once."""
PROOFS = {"protocol.md"}
"""Pages whose sentences follow an argument: their lengths are not counted."""

# Where a path in a page may begin.
BASES = (ROOT, CORE, ROOT / "rtmalloc", ROOT / "bench_harness", ROOT / "docs")
MADE_LATER = re.compile(
    r"^(build|dist|results|plots|made|bench_harness/native/bin)/|^rtmalloc/lib/|(^|/)_[a-z_]+\.(h|pxd)$"
)
_PATH = re.compile(r"^[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*/?$")
_FILE = re.compile(r"\.(pxd|pyx|pyi|h|c|py|md|toml|json|map)$")
_SOURCE = re.compile(r"\w\.(pxd|pyx|h)$")


def pages() -> list[Path]:
    """All pages that people write, but for the results of measurements."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "rtmalloc").rglob("README.md")]
    return sorted(page for page in found if page.name not in MADE)


PLAIN = [page for page in pages() if page.name not in PROOFS]
LABORATORY = sorted((ROOT / "bench_harness").rglob("README.md"))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def file_names() -> frozenset[str]:
    """The names of all files of the repository's folders."""
    tops = [top for top in ROOT.iterdir() if top.is_dir() and not top.name.startswith(".") and top.name != "build"]
    below = (path.name for top in tops for path in top.rglob("*") if path.is_file())
    return frozenset(below) | {path.name for path in ROOT.iterdir()}


@pytest.mark.parametrize("page", PLAIN, ids=name)
def test_sentences_are_short(page: Path) -> None:
    counts = {sentence: words(sentence) for sentence in sentences(text_of(page))}
    assert not [sentence for sentence, count in counts.items() if count > LONGEST]
    assert sum(counts.values()) <= MEAN * len(counts)


@pytest.mark.parametrize("page", PLAIN, ids=name)
def test_lines_are_short(page: Path) -> None:
    # Tables cannot be wrapped, and a line of code is what it is.
    assert not [line for line in lines(text_of(page)) if len(line) > LINE]


@pytest.mark.parametrize("page", pages(), ids=name)
def test_nothing_is_told_of_what_is_gone(page: Path) -> None:
    assert not [word for word in GONE if word in text_of(page).lower()]


def test_all_of_it_can_be_read() -> None:
    told = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    count = sum(words(re.sub(r"<!-- made: .*?<!-- end -->", "", text_of(page), flags=re.DOTALL)) for page in told)
    assert 10_000 < count <= ALL_WORDS, count


@pytest.mark.parametrize("page", [*pages(), *LABORATORY], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    for target in [target for target in targets if "://" not in target]:
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        assert not anchor or other.suffix != ".md" or anchor in anchors(text_of(other)), target


@pytest.mark.parametrize("page", pages(), ids=name)
def test_files_that_it_names_are_there(page: Path) -> None:
    missing = []
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text_of(page)):
        if not _PATH.match(span) or MADE_LATER.search(span):
            continue
        if "/" in span:
            # A path into the repository begins with a folder that is there; other slashes are units and rates.
            bases = [base for base in (page.parent, *BASES) if (base / span.partition("/")[0]).is_dir()]
            if bases and not any((base / span).exists() for base in bases):
                missing.append(span)
        elif (_FILE if page.is_relative_to(CORE) else _SOURCE).search(span) and span not in file_names():
            missing.append(span)
    assert not missing


# ---- the core's own pages


def test_the_map_of_files_is_the_present_one() -> None:
    done = subprocess.run([sys.executable, ROOT / "ci/file_map.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", LAYERS)
def test_a_folder_says_what_it_calls(folder: str) -> None:
    text = text_of(CORE / folder / "README.md")
    assert text.count("\n") <= FOLDER_LINES
    (calls,) = re.findall(r"^Calls: (.*)\.$", text, re.MULTILINE)
    assert re.search(r"^Locks: ", text, re.MULTILINE)
    called = set(re.findall(r"`(\w+)`", calls))
    imported = set()
    for file in (CORE / folder).glob("*.pxd"):
        imported |= set(re.findall(r"^from rtmalloc\.core\.(\w+)[.\w]* cimport", text_of(file), re.MULTILINE))
    assert called == imported - {folder, "types"}
    for file in re.findall(r"`(\w+\.\w+)`", text):
        assert file in file_names() or MADE_LATER.search(file), file


def test_every_layer_has_a_page() -> None:
    pages_of_layers = {page.stem for page in (ROOT / "docs" / "design").glob("*.md")} - {"index"}
    assert pages_of_layers == set(LAYERS) - {"alternatives"}
    for layer in pages_of_layers:
        assert f"core/{layer}/README.md" in text_of(ROOT / "docs" / "design" / f"{layer}.md")


# ---- the overview

OVERVIEW = ROOT / "docs" / "overview.md"


def test_the_overview_is_read_in_five_minutes() -> None:
    text = text_of(OVERVIEW)
    assert len(text.split()) <= OVERVIEW_WORDS
    assert len(re.findall(r"!\[[^\]]+\]\(assets/\w+\.svg\)", text)) == 3
    rows = re.findall(r"^\| ([\w, ]+) \|", text.partition("## Words")[2].partition("## ")[0], re.MULTILINE)
    assert {word for row in rows for word in row.split(", ")} >= GLOSSARY


def questions() -> list[tuple[str, str]]:
    """The newcomer's questions, each with its place."""
    table = text_of(OVERVIEW).partition("## Where is ...?")[2]
    return re.findall(r"^\| ([^|]+\?) \| ([^|]+) \|$", table, re.MULTILINE)


def test_ten_questions_have_a_place() -> None:
    assert len(questions()) == 10


@pytest.mark.parametrize(("question", "place"), questions())
def test_the_place_of_a_question_has_what_it_names(question: str, place: str) -> None:
    target, _, anchor = re.findall(r"\]\(([^)]+)\)", place)[0].partition("#")
    text = text_of((OVERVIEW.parent / target).resolve())
    for function in re.findall(r"`(\w+)`", place):
        assert re.search(rf"^(cdef |typedef |\}} ).*\b{function}\b", text, re.MULTILINE), function
    assert not anchor or anchor in anchors(text)
