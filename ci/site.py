"""What `make docs` adds to the pages of docs/: mkdocs.yml names this file as its hook.

Made pages are the references (ci/reference.py), the README as the start page, and every file of the repository that a
page links to or names in code: the site then stands alone, and a link that leads nowhere is a warning, which ends it.
"""

from __future__ import annotations

import logging
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parents[1]))
from ci import reference

ROOT = Path(__file__).resolve().parents[1]
CORE = "rtmalloc/core"
LANGUAGES = {
    ".pxd": "cython",
    ".pyx": "cython",
    ".h": "c",
    ".c": "c",
    ".py": "python",
    ".toml": "toml",
    ".json": "json",
}
STATIC = {".png", ".svg"}
MEASURED = ("measurements.md", "measurements-python.md", "ablation.md")
"""What `bench-harness page` and `ablate --markdown` write."""
_log = logging.getLogger("mkdocs.hooks.site")

# A fence or a code span, which stays as it is; the target of a link; the file of a picture in HTML.
_CODE = r"(?P<code>^ *```.*?^ *```$|`[^`\n]+`)"
_TARGET = re.compile(
    _CODE + r"|(?<=\]\()(?P<link>[^)\s]+)(?=\))|(?<=(?:src)=\")(?P<src>[^\"]+)|(?<=srcset=\")(?P<set>[^\"]+)",
    re.MULTILINE | re.DOTALL,
)
_ROLE = re.compile(r":(?:func|class|meth|attr|mod):<code>~?([^<]*)</code>")

_origins: dict[str, str] = {}
"""The repository's path of each page's text, by the page's own path."""


def place(path: str) -> str:
    """Where the site has a file of the repository."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}" if Path(path).suffix in {".md", *STATIC} else f"source/{path}.md"


def named(span: str) -> str | None:
    """The file of the core that a code span names, as ``heaps/bin.pxd`` does."""
    for folder in (CORE, "."):
        path = posixpath.normpath(posixpath.join(folder, span))
        if "/" in span and Path(path).suffix in {".pxd", ".h", ".toml", ".py", ".pyx"} and (ROOT / path).is_file():
            return path
    return None


def target(link: str, origin: str) -> str | None:
    """The repository's path of what a link of the file ``origin`` leads to; None where it leads out or nowhere."""
    if "://" in link or link.startswith(("#", "mailto:")):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link.partition("#")[0]))
    if (ROOT / path).is_dir():
        path = posixpath.join(path, "README.md")
    return path if (ROOT / path).is_file() and not path.startswith("..") else None


def targets(text: str, origin: str) -> set[str]:
    """All files that a page leads to."""
    found = set()
    for match in _TARGET.finditer(text):
        span = match["code"]
        link = match["link"] or match["src"] or match["set"]
        path = named(span.strip("`")) if span else target(link, origin)
        if path:
            found.add(path)
    return found


def source_page(path: str) -> str:
    """A file of the repository as a page."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    fence = "~" * 12
    language = LANGUAGES.get(Path(path).suffix, "sh")
    head = "---\nsearch:\n  exclude: true\n---\n"
    return f'{head}# {Path(path).name}\n`{path}`\n\n{fence}{{ .{language} linenums="1" }}\n{text}\n{fence}\n'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the decision records and the pages that the laboratory writes into the navigation, in their order."""
    records = sorted((ROOT / "docs/decisions").glob("*.md"), key=lambda path: (path.name != "index.md", path.name))
    lists = {
        "decisions/": [f"decisions/{path.name}" for path in records],
        "measured/": [name for name in MEASURED if (ROOT / "docs" / name).exists()],
    }
    for section in config.nav or []:
        for pages in section.values():
            for entry in list(pages) if isinstance(pages, list) else []:
                for title, place_of in list(entry.items()) if isinstance(entry, dict) else []:
                    if place_of not in lists:
                        continue
                    entry[title] = lists[place_of]
                    if not lists[place_of]:
                        pages.remove(entry)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages, and follow links from page to page until nothing new is found."""
    _origins.clear()
    texts = {"README.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    made = {"index.md": texts["README.md"], **reference.pages()}
    for file in files.documentation_pages():
        texts[f"docs/{file.src_uri}"] = file.content_string
    _origins.update({place(path): path for path in texts})
    waiting = list(texts)
    while waiting:
        origin = waiting.pop()
        for path in targets(texts[origin], origin) - set(texts):
            texts[path] = ""
            if path.startswith("docs/"):
                continue
            if Path(path).suffix in STATIC:
                files.append(File.generated(config, place(path), abs_src_path=str(ROOT / path)))
                continue
            made[place(path)] = source_page(path)
            if path.endswith(".md"):
                texts[path] = made[place(path)]
                _origins[place(path)] = path
                waiting.append(path)
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to the site's places, and code spans that name a file of the core to that file."""
    uri = page.file.src_uri
    origin = _origins.get(uri)
    if origin is None:
        return markdown

    def there(path: str) -> str:
        return posixpath.relpath(place(path), posixpath.dirname(uri) or ".")

    def replaced(match: re.Match[str]) -> str:
        span = match["code"]
        if span:
            path = named(span.strip("`"))
            # (The text of a link that is there already stays.)
            linked = markdown[match.end() : match.end() + 2] == "]("
            return f"[{span}]({there(path)})" if path and not linked else span
        path = target(match[0], origin)
        if path is None:
            if not match["link"] and "://" not in match[0]:
                _log.warning("%s: %s is not there", origin, match[0])
            return match[0]
        return there(path) + match[0][len(match[0].partition("#")[0]) :]

    return _TARGET.sub(replaced, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings say :func:`name`, as Python's own tools want it."""
    return _ROLE.sub(r"<code>\1</code>", html)
