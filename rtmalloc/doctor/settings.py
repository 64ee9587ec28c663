"""Checks of what was installed and what the environment says to rtmalloc.

A check is a function without arguments that returns a :class:`Finding`; what it looks at is a constant of its module or
a function of the standard library, so that a test can put another world in its place.
"""

from __future__ import annotations

import os

from rtmalloc import _core
from rtmalloc.doctor.finding import NOTE, OK, PROBLEM, Finding
from rtmalloc.settings import CONFIG, OPTIONS, SWITCH, check_config, library_path, options_parse

OTHER_ALLOCATORS = ("jemalloc", "mimalloc", "tcmalloc", "snmalloc", "rpmalloc", "hoard", "libasan", "libtsan", "memray")


def check_library() -> Finding:
    """The preload library is there."""
    try:
        return Finding("library", OK, str(library_path()))
    except FileNotFoundError as error:
        return Finding("library", PROBLEM, str(error), "reinstall rtmalloc")


def check_switch() -> Finding:
    """``RTMALLOC=0`` keeps rtmalloc out."""
    if os.environ.get(SWITCH) == "0":
        return Finding("switch", PROBLEM, f"{SWITCH}=0 keeps rtmalloc out of every program", f"unset {SWITCH}")
    return Finding("switch", OK, f"{SWITCH} is not 0")


def check_options() -> Finding:
    """``RTMALLOC_OPTIONS`` holds only what the allocator takes."""
    text = os.environ.get(OPTIONS, "")
    try:
        values = options_parse(text)
    except ValueError as error:
        return Finding("options", PROBLEM, str(error), "correct the value; `rtmalloc options` lists them all")
    return Finding("options", OK, f"{OPTIONS} sets {', '.join(values) if values else 'nothing'}")


def check_memory_limit() -> Finding:
    """Which limit programs get, and where it comes from."""
    name = "memory limit"
    try:
        values = options_parse(os.environ.get(OPTIONS, ""))
    except ValueError:
        return Finding(name, NOTE, f"{OPTIONS} is wrong, so it is not known", "correct the value")
    limit, hard = values.get("memory_limit", 0), values.get("memory_limit_hard", 0)
    beyond = f"; requests beyond {hard} bytes fail" if hard else ""
    if limit == -1:
        group = _core.cgroup_limit()
        if not group:
            return Finding(
                name, NOTE, f"auto, but no control group limits this process{beyond}", "name a number of bytes"
            )
        return Finding(name, OK, f"auto: {group - group // 8} of the control group's {group} bytes{beyond}")
    return Finding(name, OK, (f"{limit} bytes" if limit else "none") + beyond)


def check_size_classes() -> Finding:
    """Which table of size classes programs get."""
    chosen = ""
    for part in os.environ.get(OPTIONS, "").split(","):
        name, _, value = part.partition("=")
        chosen = value if name == CONFIG else chosen
    if not chosen:
        sizes, _ = _core.size_classes()
        return Finding("size classes", OK, f"{len(sizes)} small classes up to {sizes[-1]} bytes")
    try:
        check_config(chosen)
    except ValueError as error:
        return Finding("size classes", PROBLEM, f"{error}; the built-in table stays", "correct the table, or unset it")
    if not os.path.isabs(chosen):
        return Finding(
            "size classes",
            NOTE,
            f"from {chosen}, a relative path: programs that start in another directory do not find it",
            f"name {os.path.abspath(chosen)}",
        )
    return Finding("size classes", OK, f"from {chosen}")


def check_other_preloads() -> Finding:
    """Of several mallocs in ``LD_PRELOAD`` the first one serves."""
    value = os.environ.get("LD_PRELOAD", "")
    rivals = [entry for entry in value.replace(" ", ":").split(":") if any(o in entry for o in OTHER_ALLOCATORS)]
    if rivals:
        return Finding(
            "LD_PRELOAD",
            NOTE,
            f"{', '.join(rivals)} is preloaded too: the launcher puts rtmalloc in front of it, other starters may not",
            "take it out of LD_PRELOAD",
        )
    return Finding("LD_PRELOAD", OK, value or "not set")
