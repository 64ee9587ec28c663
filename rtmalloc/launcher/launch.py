"""Starting programs on the preload library.

Every start is an exec: exit status, signals and terminal are the program's own. Nothing slow is imported here: the
launcher may add 10 ms to an empty program, and a first interpreter takes most of them.
"""

from __future__ import annotations

import os
import stat
import sys

from rtmalloc.settings import CONFIG, HEAP_PROFILE, OPTIONS, SWITCH, library_file, nearest, options_parse

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

MARKER = "RTMALLOC_LAUNCHED"
"""Tells a launcher that it was started by itself: the process id, and the length of the command line at that time."""

NO_CHILDREN = "RTMALLOC_NO_CHILDREN"
"""Asks the preload library to take itself out of the environment, so that children do not inherit it."""

PROFILE = "RTMALLOC_PROFILE"
"""Names the directory to which a process writes the sizes that it asked for (docs/profiles.md)."""

TRACERS = ("libheaptrack_", "libmemusage", "libscalene", "libbytehound", "vgpreload", "libmtrace")
"""Parts of names of libraries that watch malloc and pass on to the next one: they stand in front of rtmalloc."""

HEAP_SIGNAL = 61
"""The signal by which `rtmalloc heap PID` asks, unless the options name another: a real-time one that nobody uses."""

LAUNCHER_OPTIONS = {"background_thread": 1}
"""Options set under the launcher unless RTMALLOC_OPTIONS names them. A Python service that goes idle calls no
allocator, so only a thread can give its memory back."""

COMMANDS = ("classes", "doctor", "env", "explain", "heap", "libpath", "options", "profile", "run", "stats")
"""First arguments that are ours, beside -h, --help and --version; anything else is a program to start."""

EXIT_USAGE = 2
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class LaunchError(Exception):
    """A program cannot be started on rtmalloc; the message says why, in one sentence."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def end_with(error: Exception) -> NoReturn:
    """End this process with an error told in one sentence; its exit status is a :class:`LaunchError`'s own, else 1."""
    print(f"rtmalloc: {error}", file=sys.stderr)
    sys.exit(error.exit_status if isinstance(error, LaunchError) else 1)


def preload_value(existing: str | None) -> str:
    """A value of ``LD_PRELOAD`` with our library in front of what is there already, but behind :data:`TRACERS`.

    Args:
        existing: the variable now, or None.

    Raises:
        LaunchError: when the library is missing, or its path cannot be written in the variable.
    """
    try:
        library = library_file()
    except FileNotFoundError as error:
        raise LaunchError(str(error)) from None
    if any(c in library for c in ": \t\n"):
        raise LaunchError(f"{library}: LD_PRELOAD cannot hold a path with a colon or a space: install elsewhere")
    others = [entry for entry in (existing or "").replace(" ", ":").split(":") if entry and entry != library]
    tracers = [entry for entry in others if any(name in entry for name in TRACERS)]
    return ":".join([*tracers, library, *(entry for entry in others if entry not in tracers)])


def options_value(given: str) -> str:
    """A value of ``RTMALLOC_OPTIONS`` with the launcher's own options in front of what is given.

    Args:
        given: ``name=value,name=value``; what it names stays as it says.

    Raises:
        ValueError: when it holds what the allocator would refuse.
    """
    chosen = options_parse(given)
    defaults = [f"{name}={value}" for name, value in LAUNCHER_OPTIONS.items() if name not in chosen]
    return ",".join([*defaults, given] if given else defaults)


def environment(
    base: Mapping[str, str],
    *,
    children: bool = True,
    config: str | None = None,
    profile: str | None = None,
    heap_profile: str | None = None,
) -> dict[str, str]:
    """The environment in which a program runs on rtmalloc.

    Args:
        base: to start from. ``RTMALLOC=0`` in it leaves it as it is.
        children: whether the programs that it starts do as well.
        config: a compiled table of size classes, in place of the one that ``RTMALLOC_OPTIONS`` may name.
        profile: a directory to which every process writes the sizes that it asked for.
        heap_profile: a directory to which every process writes who holds its memory, at exit and when it is asked.

    Raises:
        LaunchError: when the library is missing.
        ValueError: when ``RTMALLOC_OPTIONS`` holds what the allocator would refuse.
    """
    env = dict(base)
    if env.get(SWITCH) == "0":
        return env
    given = env.get(OPTIONS, "")
    if config is not None:
        if "," in config:
            raise LaunchError(f"{config}: {OPTIONS} cannot hold a path with a comma", EXIT_USAGE)
        # Absolute, for programs that change their directory and start others. The last one counts.
        given = ",".join(filter(None, [given, f"{CONFIG}={os.path.abspath(config)}"]))
    if profile is not None:
        env[PROFILE] = os.path.abspath(profile)
    if heap_profile is not None:
        env[HEAP_PROFILE] = os.path.abspath(heap_profile)
        if "heap_profile_signal" not in options_parse(given):
            given = ",".join(filter(None, [given, f"heap_profile_signal={HEAP_SIGNAL}"]))
    env[OPTIONS] = options_value(given)
    env["LD_PRELOAD"] = preload_value(env.get("LD_PRELOAD"))
    if children:
        env.pop(NO_CHILDREN, None)
    else:
        env[NO_CHILDREN] = "1"
    return env


def interpreter_flags(original: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The interpreter's own options in a command line that started this program.

    Args:
        original: ``sys.orig_argv``: the interpreter, its options, ``-m rtmalloc`` or a script, our arguments.
        arguments: ours, which are the end of it.

    Returns:
        What stands between the interpreter and the thing it was told to run, for example ``["-X", "dev", "-I"]``.
    """
    head = list(original[1 : len(original) - len(arguments)])
    if not head:
        return []
    last = head.pop()
    if head and last == "rtmalloc" and head[-1].startswith("-") and head[-1].endswith("m"):
        # "-m rtmalloc", or gathered with other letters: "-Im rtmalloc".
        letters = head.pop().removesuffix("m")
        return head + ([letters] if letters != "-" else [])
    if last.startswith("-") and last.endswith("mrtmalloc"):
        letters = last.removesuffix("mrtmalloc")
        return head + ([letters] if letters != "-" else [])
    return head


def _text_length(arguments: Sequence[str]) -> int:
    return sum(len(argument) for argument in arguments)


def _refuse_loop(env: Mapping[str, str]) -> None:
    """Raise :class:`LaunchError` when this launcher was started by itself with a command line that is no shorter."""
    pid, _, length = env.get(MARKER, "").partition(":")
    if pid == str(os.getpid()) and length.isdigit() and _text_length(sys.orig_argv[1:]) >= int(length):
        raise LaunchError(f"the launcher would start itself for ever with {sys.orig_argv!r}")


def _execute(path: str, arguments: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Become the program.

    Raises:
        LaunchError: when the kernel refuses; with the exit status that a shell would use.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(path, list(arguments), env)
    except FileNotFoundError:
        raise LaunchError(f"{path}: no such program", EXIT_NOT_FOUND) from None
    except OSError as error:
        raise LaunchError(f"{path} cannot be started: {error.strerror}", EXIT_NOT_EXECUTABLE) from None


def launch_python(arguments: Sequence[str], flags: Sequence[str] | None = None) -> NoReturn:
    """Become this interpreter again, on the preload library, with everything else as it was.

    Args:
        arguments: what follows ``rtmalloc``: ``script.py …``, ``-m module …``, ``-c code …``, or any of these after
            options of the interpreter.
        flags: options of the interpreter that come first; None takes over those of this process.

    Raises:
        LaunchError: when that cannot be done.
    """
    _refuse_loop(os.environ)
    if not sys.executable:
        raise LaunchError("this interpreter does not know its own path (it is embedded): use `rtmalloc env`")
    first = arguments[0]
    if not first.startswith("-") and not os.path.exists(first):
        raise LaunchError(_neither(arguments), EXIT_USAGE)
    refuse_if_not_preloadable(sys.executable)
    env = environment(os.environ)
    env[MARKER] = f"{os.getpid()}:{_text_length(sys.orig_argv[1:])}"
    if flags is None:
        flags = interpreter_flags(sys.orig_argv, sys.argv[1:])
    _execute(sys.executable, [sys.executable, *flags, *arguments], env)


def _neither(arguments: Sequence[str]) -> str:
    """The sentence for a first argument that is no Python program and no command, with what was probably meant."""
    first = arguments[0]
    meant = nearest(first, COMMANDS)
    sentence = f"{first} is neither a file nor a command{meant}"
    is_program = any(os.access(os.path.join(directory, first), os.X_OK) for directory in _search_path())
    if not is_program and (meant or first.endswith(".py")):
        return f"{sentence}; `rtmalloc --help` lists the commands"
    return f"{sentence}; a program is started by `rtmalloc run -- {' '.join(arguments)}`"


def launch_from(arguments: Sequence[str]) -> None:
    """Become the program that ``rtmalloc run ARGUMENTS`` names; returns when they hold another option than ours.

    Raises:
        LaunchError: when no program is named, there is none, or nothing can be preloaded into it.
    """
    command = list(arguments)
    children = True
    while command[:1] == ["--no-children"]:
        children = False
        del command[0]
    if command[:1] == ["--"]:
        del command[0]
    elif command and command[0].startswith("-"):
        return
    if not command:
        raise LaunchError("run: which program? `rtmalloc run -- command arguments...`", EXIT_USAGE)
    launch_command(command, children=children)


def launch_command(
    command: Sequence[str],
    *,
    children: bool = True,
    config: str | None = None,
    profile: str | None = None,
    heap_profile: str | None = None,
) -> NoReturn:
    """Become any program, on the preload library.

    Args:
        command: the program, looked up in ``PATH`` as a shell does, and its arguments.
        children: whether the programs that it starts run on rtmalloc too.
        config: a table of size classes for it, compiled or not.
        profile: a directory to which it writes the sizes that it asked for.
        heap_profile: a directory to which it writes who holds its memory.

    Raises:
        LaunchError: when there is no such program, or nothing can be preloaded into it.
    """
    path = find_program(command[0])
    refuse_if_not_preloadable(path)
    if config is not None:
        from rtmalloc.launcher.table_cache import compiled_path

        config = compiled_path(config)
    env = environment(os.environ, children=children, config=config, profile=profile, heap_profile=heap_profile)
    _execute(path, command, env)


def _search_path() -> list[str]:
    """The folders of ``PATH``. As os.get_exec_path, which takes a third of a millisecond to import warnings."""
    return os.environ.get("PATH", os.defpath).split(os.pathsep)


def find_program(name: str) -> str:
    """The file that a shell would run for a name.

    Raises:
        LaunchError: when there is none, or it is not executable.
    """
    candidates = [name] if os.sep in name else [os.path.join(directory, name) for directory in _search_path()]
    there = [path for path in candidates if os.path.isfile(path)]
    for path in there:
        if os.access(path, os.X_OK):
            return path
    if there:
        raise LaunchError(f"{there[0]} is not executable", EXIT_NOT_EXECUTABLE)
    raise LaunchError(f"there is no program {name}", EXIT_NOT_FOUND)


def refuse_if_not_preloadable(path: str) -> None:
    """Raise :class:`LaunchError` when the loader would ignore ``LD_PRELOAD`` for a program."""
    reason = why_not_preloadable(path)
    if reason:
        raise LaunchError(f"{path} {reason}")


def why_not_preloadable(path: str) -> str | None:
    """Why nothing can be preloaded into a program, as the end of a sentence; None when it can."""
    try:
        mode = os.stat(path).st_mode
        capabilities = "security.capability" in os.listxattr(path)
    except OSError:
        return None  # exec will say what is wrong with it
    if os.geteuid() != 0 and mode & (stat.S_ISUID | stat.S_ISGID):
        return "is setuid or setgid: the loader ignores LD_PRELOAD for it"
    if os.geteuid() != 0 and capabilities:
        return "has file capabilities: the loader ignores LD_PRELOAD for it (remove them with `setcap -r`)"
    if _is_static(path):
        return "is statically linked: there is no loader that could preload anything"
    return None


_ELF64_LITTLE = b"\x7fELF\x02\x01"
_PT_INTERP = 3
_PHOFF, _PHENTSIZE, _PHNUM = slice(32, 40), slice(54, 56), slice(56, 58)


def _is_static(path: str) -> bool:
    """Whether a file is a 64-bit ELF program without an interpreter segment; False for scripts and unreadable files."""
    try:
        with open(path, "rb") as file:
            header = file.read(64)
            if len(header) < 64 or not header.startswith(_ELF64_LITTLE):
                return False
            start, size, count = (int.from_bytes(header[part], "little") for part in (_PHOFF, _PHENTSIZE, _PHNUM))
            file.seek(start)
            table = file.read(size * count)
    except OSError:
        return False
    return all(int.from_bytes(table[i : i + 4], "little") != _PT_INTERP for i in range(0, len(table), size))
