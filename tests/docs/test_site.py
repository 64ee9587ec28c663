"""The site is built without a warning, and what is made for it is the present and the whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ci import decisions, pictures, reference

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "rtmalloc" / "lib" / "librtmalloc.so"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it: strictly."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_and_picture_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert not [page for page in pages if not (site / page).exists()]
    assert all((site / "assets" / name).exists() for name in pictures.PICTURES)


def test_no_page_sends_the_reader_elsewhere_for_files(site: Path) -> None:
    for page in site.glob("*.html"):
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://[^"]+', page.read_text()), page.name


def test_links_out_of_the_docs_lead_to_pages_of_the_site(site: Path) -> None:
    overview = (site / "overview.html").read_text()
    linked = re.findall(r'href="(source/[^"#]+)"', overview)
    assert "source/rtmalloc/core/spans/shelf.pxd.html" in linked
    assert all((site / link).exists() for link in linked)
    assert "shelf_draw" in (site / "source/rtmalloc/core/spans/shelf.pxd.html").read_text()


def test_the_reference_has_every_public_name_of_python(site: Path) -> None:
    import rtmalloc

    text = (site / "reference" / "python.html").read_text()
    assert not [name for name in rtmalloc.__all__ if f'id="rtmalloc.{name}"' not in text]
    assert "InstallError" in text and 'id="rtmalloc.profile.snapshot"' in text and ":func:" not in text


def test_the_reference_has_every_command() -> None:
    text = reference.commands_page()
    assert {"rtmalloc run", "rtmalloc stats", "rtmalloc profile optimise"} <= set(re.findall("^## (.+)$", text, re.M))
    assert "--config FILE" in text


def test_the_reference_has_every_name_of_the_library() -> None:
    done = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True)
    exported = set(re.findall(r" [TWiV] (\w+)", done.stdout))
    assert exported == {name for found in reference.functions().values() for name in found}
    assert "`pressure_listen`" in reference.c_page()


def test_the_pictures_are_the_present_ones() -> None:
    assert pictures.main(check=True) == 0


def test_the_decisions_are_in_order() -> None:
    assert decisions.main(check=True) == 0
