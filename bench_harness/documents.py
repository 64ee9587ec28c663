"""Documents that follow a schema: TOML that declares, JSON that holds results."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from bench_harness.errors import HarnessError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - exercised on Python 3.10 only
    import tomli as tomllib

__all__ = ["PACKAGE", "check", "read_toml", "schema_path"]

PACKAGE = Path(__file__).resolve().parent
SHOWN = 200  # characters of a schema's complaint


def schema_path(name: str) -> Path:
    """The file of a schema: `results-1` gives `schema/results-1.json`."""
    return PACKAGE / "schema" / f"{name}.json"


def check(document: Mapping[str, Any], schema: str, source: Path, what: str) -> None:
    """Raise HarnessError, naming the place in the document, unless it follows the schema.

    Args:
        document: what was read.
        schema: its schema's name.
        source: the file that it came from.
        what: what the file should be, for the message: `a result file`.
    """
    validator = jsonschema.Draft202012Validator(json.loads(schema_path(schema).read_text()))
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    if error is not None:
        raise HarnessError(f"{source}: not a valid {what} at {error.json_path}: {error.message[:SHOWN]}")


def read_toml(path: Path, schema: str, what: str) -> dict[str, Any]:
    """Read a TOML file that follows a schema.

    Raises:
        HarnessError: it cannot be read, is no TOML, or breaks the schema.
    """
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise HarnessError(f"{path}: not TOML: {error}") from error
    check(document, schema, path, what)
    return document
