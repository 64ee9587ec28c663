"""The harness's own exceptions."""

from __future__ import annotations

__all__ = ["HarnessError", "UsageError"]


class HarnessError(Exception):
    """Something stops the whole run; the message is one line for the user."""


class UsageError(HarnessError):
    """A bad argument; the message names it and lists what is valid. The command line ends with status 2."""
