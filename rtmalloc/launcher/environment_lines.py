"""``rtmalloc env``: the lines that put a program on rtmalloc, in the syntax of the thing that starts it."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from rtmalloc.launcher.launch import options_value, preload_value
from rtmalloc.settings import OPTIONS


def _shell(variables: dict[str, str]) -> list[str]:
    # What the shell has in LD_PRELOAD already stays behind ours; a second time nothing changes.
    path = shlex.quote(variables["LD_PRELOAD"])
    lines = [
        f'case ":${{LD_PRELOAD-}}:" in *[:\\ ]{path}[:\\ ]*) ;; '
        f"*) export LD_PRELOAD={path}${{LD_PRELOAD:+:$LD_PRELOAD}} ;; esac"
    ]
    return lines + [f"export {name}={shlex.quote(text)}" for name, text in variables.items() if name != "LD_PRELOAD"]


def _docker(variables: dict[str, str]) -> list[str]:
    return [f'ENV {name}="{text}"' for name, text in variables.items()]


def _systemd(variables: dict[str, str]) -> list[str]:
    return ["[Service]", *(f'Environment="{name}={text}"' for name, text in variables.items())]


def _before(command: str) -> Callable[[dict[str, str]], list[str]]:
    def lines(variables: dict[str, str]) -> list[str]:
        assignments = " ".join(f"{name}={shlex.quote(text)}" for name, text in variables.items())
        return [f"{assignments} {command}"]

    return lines


def _dask(variables: dict[str, str]) -> list[str]:
    # pre-spawn-environ, not environ: the loader reads LD_PRELOAD before the worker's first instruction.
    lines = ["distributed:", "  nanny:", "    pre-spawn-environ:"]
    return lines + [f'      {name}: "{text}"' for name, text in variables.items()]


FORMATS: dict[str, Callable[[dict[str, str]], list[str]]] = {
    "shell": _shell,
    "docker": _docker,
    "systemd": _systemd,
    # Both can set variables for their workers (raw_env, for instance), but fork them without
    # an exec: the variables must be there when the master starts.
    "gunicorn": _before('gunicorn "$@"'),
    "celery": _before('celery "$@"'),
    "dask": _dask,
}
"""By name, what makes the lines out of the variables."""


def lines_for(format: str, options: str = "") -> list[str]:
    """The lines of a format, a key of :data:`FORMATS`.

    Args:
        format: what will start the program.
        options: for ``RTMALLOC_OPTIONS``, beside those that the launcher sets.

    Raises:
        LaunchError: when the library is missing.
        ValueError: when ``options`` holds what the allocator would refuse.
    """
    variables = {"LD_PRELOAD": preload_value(None), OPTIONS: options_value(options)}
    return FORMATS[format](variables)
