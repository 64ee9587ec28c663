"""The command line: ``rtmalloc`` and ``python -m rtmalloc`` are one program.

Its first argument is a command, or else the Python program to start on rtmalloc; for that nothing slow is imported.
"""

from __future__ import annotations

import sys

from rtmalloc.launcher import launch

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence


def console() -> None:
    """What the console script runs: :func:`main`, in an interpreter whose own options are not the user's."""
    main(flags=())


def main(arguments: list[str] | None = None, *, flags: Sequence[str] | None = None) -> None:
    """Run one command, or become a Python program.

    Args:
        arguments: without the program's name; None takes them from the command line.
        flags: options for the interpreter of a Python program; None takes over those of this one.

    Exits with 0 for success, 1 for a failure told in one sentence, 2 for wrong usage; the exit status of a program that
    was started is its own, and 126 or 127 when it could not be, as in a shell.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] not in (*launch.COMMANDS, "-h", "--help", "--version"):
            launch.launch_python(given, flags)
        if given[:1] == ["run"]:
            # Without argparse, which takes as long as the rest. Comes back only for what argparse should answer.
            launch.launch_from(given[1:])
        from rtmalloc.commands import parser

        chosen = parser.parser().parse(given)
        sys.exit(chosen.run(chosen))
    except BrokenPipeError:
        # `rtmalloc options | head`: the reader has what it wanted. Keep the interpreter's own last flush from failing.
        sys.stdout = None
        sys.exit(1)
    except (launch.LaunchError, OSError, ValueError) as error:
        launch.end_with(error)
