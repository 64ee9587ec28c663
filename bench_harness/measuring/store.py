"""Result files: versioned JSON, validated by a schema; a journal keeps the finished cells of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_harness.documents import check
from bench_harness.errors import HarnessError

__all__ = ["SCHEMA_VERSION", "Journal", "Results", "load", "merge", "resumable", "save", "validate"]

SCHEMA_VERSION = 1
SCHEMA = f"results-{SCHEMA_VERSION}"


@dataclass
class Results:
    """The content of a result file; the schema in `schema/` describes every field."""

    header: dict[str, Any]
    cells: list[dict[str, Any]] = field(default_factory=list)

    @property
    def machines(self) -> dict[str, dict[str, Any]]:
        """Machine descriptions by id."""
        return dict(self.header["machines"])

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {**self.header, "cells": self.cells}


def validate(document: Mapping[str, Any], source: Path) -> None:
    """Raise HarnessError, naming the place in the file, unless the document follows the schema."""
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise HarnessError(
            f"{source}: schema version {version!r} is not {SCHEMA_VERSION}, which this harness reads; "
            "measure again or use the harness that wrote it"
        )
    check(document, SCHEMA, source, "result file")


def load(path: Path) -> Results:
    """Read and validate a result file.

    Raises:
        HarnessError: it does not exist, is no JSON, has another version, or breaks the schema.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise HarnessError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise HarnessError(f"{path}: not a result file")
    validate(document, path)
    return Results({k: v for k, v in document.items() if k != "cells"}, document["cells"])


def save(results: Results, path: Path) -> None:
    """Validate and write a result file, in place only when it is complete."""
    document = results.to_json()
    validate(document, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    os.replace(scratch, path)


def merge(files: Sequence[Results]) -> Results:
    """Several result files as one; cells stay apart by machine, rounds by file.

    Raises:
        HarnessError: two files mean different binaries by the same allocator name.
    """
    first = files[0]
    if len(files) == 1:
        return first
    header = {**first.header, "machines": {}, "allocators": {}, "workloads": {}}
    cells: list[dict[str, Any]] = []
    for results in files:
        for name, entry in results.header["allocators"].items():
            known = header["allocators"].setdefault(name, entry)
            if known["sha256"] != entry["sha256"]:
                raise HarnessError(f"{name} is another binary in each file: name them apart to show them together")
        header["machines"].update(results.header["machines"])
        header["workloads"].update(results.header["workloads"])
        # A pair is a round of one run: the rounds of the next file count on, and never pair with an earlier
        # one.
        offset = 1 + max((c["round"] for c in cells), default=-1)
        cells += [{**cell, "round": cell["round"] + offset} for cell in results.cells]
    return Results(header, cells)


class Journal:
    """The finished cells of a run under way: `FILE.journal`, one JSON line each, the header first."""

    def __init__(self, target: Path) -> None:
        """A journal for the result file `target`; nothing is read or written yet."""
        self.path = target.with_name(target.name + ".journal")

    def start(self, header: Mapping[str, Any]) -> None:
        """Begin anew with a run's header."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(header) + "\n")

    def add(self, cell: Mapping[str, Any]) -> None:
        """Append one finished cell; it survives the end of this process."""
        with self.path.open("a") as file:
            file.write(json.dumps(cell, separators=(",", ":")) + "\n")

    def read(self) -> Results | None:
        """The header and cells of an interrupted run, None without one; a cut last line is left out."""
        if not self.path.exists():
            return None
        documents = list(self._lines())
        return Results(documents[0], documents[1:]) if documents else None

    def _lines(self) -> Iterator[dict[str, Any]]:
        for line in self.path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def remove(self) -> None:
        """The run is complete and saved."""
        self.path.unlink(missing_ok=True)


def resumable(old: Results, header: Mapping[str, Any], path: Path) -> Sequence[dict[str, Any]]:
    """The finished cells of an interrupted run that this run may keep.

    Raises:
        HarnessError: the run differs in what it measures (machine, binaries, settings), so its cells would be
            mixed with those of another experiment.
    """
    for name in ("machines", "allocators", "settings"):
        if old.header.get(name) != header[name]:
            raise HarnessError(
                f"--resume: {path} was begun with other {name}; finish it with the same arguments "
                "and binaries, or start anew without --resume"
            )
    return old.cells
