"""The parser of the command line, and what it says of wrong usage. Loaded only when a command is wanted."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from rtmalloc import __version__
from rtmalloc.commands import classes, heaps, launching, looking, profiles
from rtmalloc.settings import nearest

_EPILOG = """\
What is not a command is a Python program, and runs on rtmalloc with every allocation:
  python -m rtmalloc script.py arguments...
  python -m rtmalloc -m module arguments...
  python -m rtmalloc -c code arguments...
Options of the interpreter may stand before -m rtmalloc, or in front of the program.
"""


class Parser(argparse.ArgumentParser):
    """A parser that names what was probably meant, and shows the usage of the command that was used wrongly."""

    def __init__(self, **keywords: Any) -> None:
        # An abbreviation would change its meaning with the next option.
        super().__init__(**keywords, allow_abbrev=False)
        # From 3.15 on argparse names what was meant as well, in words of its own.
        self.suggest_on_error = False
        self.set_defaults(parser=self)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The parsed arguments; what nobody knows is told by the parser of the command that it was given to."""
        chosen, unknown = self.parse_known_args(arguments)
        if unknown:
            known = [option for action in chosen.parser._actions for option in action.option_strings]
            meant = "".join(nearest(one.partition("=")[0], known) for one in unknown if one.startswith("-"))
            chosen.parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return chosen

    def error(self, message: str) -> NoReturn:
        """End with the usage, the message, and the nearest of the choices that argparse lists."""
        wrong = re.search(r"invalid choice: '?([^' ]*)'? \(choose from (.*)\)", message)
        if wrong:
            message += nearest(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        super().error(message)


def parser() -> Parser:
    """The parser of all commands; what it parses has the command's function as ``run``."""
    program = Parser(
        prog="rtmalloc",
        description="Run programs on the rtmalloc allocator, and look at it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program.add_argument("--version", action="version", version=f"rtmalloc {__version__}")
    commands = program.add_subparsers(required=True, metavar="command", dest="chosen")
    launching.add(commands)
    looking.add(commands)
    heaps.add(commands)
    profiles.add(commands.add_parser("profile", help="requested sizes: merge, report, optimise"))
    classes.add(commands.add_parser("classes", help="tables of size classes: compile"))
    return program
