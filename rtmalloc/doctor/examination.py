"""All checks, in their order."""

from __future__ import annotations

from collections.abc import Callable

from rtmalloc.doctor import interpreter, launching, machine, settings
from rtmalloc.doctor.finding import Finding

CHECKS: tuple[Callable[[], Finding], ...] = (
    interpreter.check_interpreter,
    interpreter.check_free_threading,
    interpreter.check_collector,
    settings.check_library,
    settings.check_switch,
    settings.check_options,
    settings.check_memory_limit,
    settings.check_size_classes,
    interpreter.check_pythonmalloc,
    interpreter.check_debug_hooks,
    interpreter.check_tracemalloc,
    interpreter.check_memray,
    settings.check_other_preloads,
    machine.check_loader,
    machine.check_c_library,
    machine.check_static_tls,
    machine.check_address_space,
    machine.check_overcommit,
    machine.check_huge_pages,
    machine.check_page_size,
    launching.check_launch,
    launching.check_private_allocators,
)


def examine() -> list[Finding]:
    """All checks, in their order."""
    return [check() for check in CHECKS]
