"""Result files: the schema holds, broken files are refused with a sentence, a journal survives anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench_harness.documents import schema_path
from bench_harness.errors import HarnessError
from bench_harness.measuring import store
from bench_harness.measuring.store import Journal, Results, load, merge, resumable, save
from tests.bench_harness.conftest import failed_cell, make_cell, make_results


def test_the_schema_is_itself_valid_and_describes_its_fields() -> None:
    schema = json.loads(schema_path(store.SCHEMA).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema_version"]["const"] == store.SCHEMA_VERSION


def test_what_is_saved_is_loaded(sample: Results, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.json"
    save(sample, path)
    again = load(path)
    assert again.header == sample.header and again.cells == sample.cells
    assert [p.name for p in path.parent.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 0}, r"schema version 0 is not 1"),
        ({"schema_version": 99}, r"schema version 99 is not 1"),
        ({"machines": {}}, r"\$\.machines"),
        ({"cells": [{"workload": 3}]}, r"\$\.cells\[0\]"),
        ({"settings": None}, r"\$\.settings"),
    ],
)
def test_a_file_of_another_version_or_shape_is_refused_with_its_place(
    sample: Results, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**sample.to_json(), **change}))
    with pytest.raises(HarnessError, match=message):
        load(path)


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[1]", "not a result file")])
def test_what_is_no_result_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(HarnessError, match=message):
        load(path)
    with pytest.raises(HarnessError, match="No such file"):
        load(tmp_path / "none.json")


def test_a_successful_cell_without_its_numbers_is_refused(tmp_path: Path) -> None:
    cell = make_cell("glibc", 0, 1e6)
    del cell["peak_rss_bytes"]
    with pytest.raises(HarnessError, match="peak_rss_bytes"):
        save(make_results([cell]), tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_a_failed_cell_needs_a_reason(tmp_path: Path) -> None:
    save(make_results([failed_cell("glibc", 0, "crashed")]), tmp_path / "r.json")
    with pytest.raises(HarnessError, match=r"cells\[0\]"):
        save(make_results([failed_cell("glibc", 0, "")]), tmp_path / "s.json")


def test_a_journal_with_a_cut_last_line_keeps_the_rest(sample: Results, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "r.json")
    assert journal.read() is None
    journal.start(sample.header)
    for cell in sample.cells[:3]:
        journal.add(cell)
    with journal.path.open("a") as file:
        file.write('{"workload": "lar')
    again = journal.read()
    assert again is not None and again.header == sample.header and again.cells == sample.cells[:3]
    journal.remove()
    assert journal.read() is None


@pytest.mark.parametrize("what", ["machines", "allocators", "settings"])
def test_a_run_of_something_else_is_not_resumed(sample: Results, tmp_path: Path, what: str) -> None:
    assert resumable(sample, sample.header, tmp_path) == sample.cells
    with pytest.raises(HarnessError, match=f"begun with other {what}"):
        resumable(sample, {**sample.header, what: {"x": {}}}, tmp_path)


def test_merged_files_keep_their_rounds_apart() -> None:
    a = make_results([make_cell("glibc", r, 1e6) for r in range(2)])
    b = make_results([make_cell("glibc", r, 2e6) for r in range(2)])
    merged = merge([a, b])
    assert [c["round"] for c in merged.cells] == [0, 1, 2, 3]
    b.header["allocators"]["glibc"]["sha256"] = "0" * 64
    with pytest.raises(HarnessError, match="another binary"):
        merge([a, b])
