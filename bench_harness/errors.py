"""The harness's own exceptions."""

from __future__ import annotations

__all__ = ["CellFailure", "HarnessError", "UsageError"]


class HarnessError(Exception):
    """Something stops the whole run; the message is one line for the user."""


class UsageError(HarnessError):
    """A bad argument; the message names it and lists what is valid. The command line ends with status 2."""


class CellFailure(Exception):
    """One cell failed, and the run goes on; the message is the reason that table and pictures show."""
