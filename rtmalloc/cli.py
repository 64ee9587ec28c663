"""The command line: ``rtmalloc`` and ``python -m rtmalloc`` are one program.

Its first argument is a command, or else the Python program to start on rtmalloc; for that nothing slow is imported.
"""

from __future__ import annotations

import sys

from rtmalloc import _launch

COMMANDS = ("run", "env", "libpath", "doctor", "options", "profile", "stats")
"""First arguments that are ours, beside -h, --help and --version; anything else is a program to start."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command, or become a Python program.

    Args:
        arguments: without the program's name; None takes them from the command line.

    Exits with 0 for success, 1 for a failure told in one sentence, 2 for wrong usage; the exit status of a program that
    was started is its own, and 126 or 127 when it could not be, as in a shell.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] not in (*COMMANDS, "-h", "--help", "--version"):
            _launch.launch_python(given)
        from rtmalloc import _commands

        chosen = _commands.parser().parse_args(given)
        sys.exit(chosen.run(chosen))
    except _launch.LaunchError as error:
        print(f"rtmalloc: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # `rtmalloc options | head`: the reader has what it wanted. Keep the interpreter's own last flush from failing.
        sys.stdout = None
        sys.exit(1)
    except (OSError, ValueError) as error:
        sys.exit(f"rtmalloc: {error}")
