"""Moving a running interpreter to rtmalloc. Imports nothing slow: a service does this at its very start."""

from __future__ import annotations

import os
import sys

from rtmalloc import _core
from rtmalloc.settings import OPTIONS, STATS_FILE, SWITCH

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Iterable

DOMAIN_BITS = {"raw": 1, "mem": 2, "obj": 4}
_ALL_DOMAINS = frozenset(DOMAIN_BITS)

SMALL_BYTES = 64
"""What a probe of a domain asks for: pymalloc serves it without malloc, so it shows who serves small objects."""


class InstallError(RuntimeError):
    """rtmalloc cannot take over this interpreter's allocations; the message says why and what to do."""


class Status:
    """Whether and how rtmalloc serves this process. A plain class: dataclasses take longer to import than rtmalloc."""

    __slots__ = ("active", "caches", "domains", "library", "pressure", "route", "table")

    active: bool
    """Whether any Python domain or malloc itself is served by rtmalloc now."""
    route: str
    """``"preload"`` (the whole process), ``"install"`` (Python's domains only) or ``"none"``."""
    domains: frozenset[str]
    """The Python allocator domains whose small requests arrive at rtmalloc: ``raw``, ``mem``, ``obj``."""
    library: str
    """Path of the file whose allocator is used."""
    caches: str
    """Whose caches of free blocks it has: ``"thread"``; ``"cpu"`` in the per-CPU variant of the library;
    ``"thread (no rseq)"`` in that variant where the kernel or glibc does not provide what it needs."""

    table: str
    """The file its size classes were read from (``RTMALLOC_OPTIONS=config=FILE``), or ``"built in"``."""
    pressure: frozenset[str]
    """The sources of memory pressure that are watched now, by the background thread or for callbacks; often none."""

    def __init__(
        self,
        *,
        active: bool,
        route: str,
        domains: frozenset[str],
        library: str,
        table: str = "built in",
        pressure: frozenset[str] = frozenset(),
        caches: str = "thread",
    ) -> None:
        self.active = active
        self.route = route
        self.domains = domains
        self.library = library
        self.caches = caches
        self.table = table
        self.pressure = pressure

    def __repr__(self) -> str:
        domains = "{" + ", ".join(sorted(self.domains)) + "}"
        pressure = "{" + ", ".join(sorted(self.pressure)) + "}"
        return (
            f"Status(active={self.active}, route={self.route!r}, domains={domains}, library={self.library!r}, "
            f"table={self.table!r}, pressure={pressure}, caches={self.caches!r})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Status):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # a snapshot, and not frozen


def install(domains: str | Iterable[str] = "auto", *, force: bool = False, strict: bool = True) -> Status:
    """Move this interpreter's allocations to rtmalloc from now on; what was allocated before stays where it is.

    CPython's own objects are in the domain ``obj``, lists' and dicts' storage in ``mem``, and what is allocated without
    the interpreter's lock (numpy's arrays from 2.5 on) in ``raw``. Extensions mix ``mem`` and ``obj``, so they go
    together. Calling it again changes nothing. There is no uninstall: blocks of rtmalloc would be freed by an allocator
    that does not know them; see :func:`disable`.

    It starts the background thread too, so that an idle service gives memory back; ``background_thread=0`` in
    ``RTMALLOC_OPTIONS`` keeps it from that. ``RTMALLOC=0`` turns the call into a no-op, and ``RTMALLOC_STATS_FILE``
    makes it call :func:`rtmalloc.stats_file`.

    Args:
        domains: ``"auto"``, ``{"raw"}`` or ``{"raw", "mem", "obj"}``. ``"auto"`` takes all three, or ``raw`` alone on a
            free-threaded build, whose garbage collector walks its own allocator's heap (PEP 703).
        force: install although another library has hooked Python's allocators. That is safe only if it never takes its
            hooks away again and hands out the very addresses that it gets from below. It does not overrule tracemalloc,
            debug hooks or a free-threaded build: these end in a crash.
        strict: False warns (RuntimeWarning) instead of raising InstallError, and leaves everything as it is: for a
            service that must also start where a profiler traces.

    Returns:
        The :class:`Status` afterwards.

    Raises:
        InstallError: where installing would break the program and ``strict`` holds; the message says what to do.
        ValueError: for other sets of domains.
    """
    try:
        _install(domains, force)
    except InstallError as error:
        if strict:
            raise
        import warnings

        warnings.warn(f"rtmalloc is not installed: {error}", RuntimeWarning, stacklevel=2)
    return status()


def _install(domains: str | Iterable[str], force: bool) -> None:
    """Do what :func:`install` says; it raises as that does."""
    wanted = _domains_wanted(domains)
    bits = sum(DOMAIN_BITS[name] for name in wanted)
    if os.environ.get(SWITCH) == "0":
        return
    missing = bits & ~(_core.hooks_active_now() | _core.domains_arriving(SMALL_BYTES))
    if missing:
        _refuse_while_tracemalloc_traces()
        _refuse_over_other_hooks(force)
        if not _core.hooks_install(bits):
            raise InstallError("this process exports no PyMem_SetAllocator: it is no CPython interpreter")
        if missing & ~(_core.hooks_active_now() | _core.domains_arriving(SMALL_BYTES)):
            raise InstallError(
                "another allocator was chosen over rtmalloc when this interpreter started (PYTHONMALLOC, -X dev, or a "
                "second Py_Initialize): hooks that were replaced cannot be set again. Unset PYTHONMALLOC"
            )
        _warn_of_memray()
        _want_background_thread()
    if os.environ.get(STATS_FILE):
        from rtmalloc.observe.stats_file import start_from_environment

        start_from_environment()


def _warn_of_memray() -> None:
    """memray takes over names of functions, and the extension's calls have none; the preload library's have."""
    if "memray" in sys.modules and not _core.is_preloaded():
        import warnings

        warnings.warn(
            "memray does not see what rtmalloc.install() serves: use the launcher (`rtmalloc -m memray run ...`), or "
            "rtmalloc.disable() while it traces",
            RuntimeWarning,
            stacklevel=4,
        )


def _want_background_thread() -> None:
    """A service that goes idle calls no allocator, so only a thread can give its memory back; unless it was refused."""
    name = "background_thread"
    if f"{name}=" not in os.environ.get(OPTIONS, ""):
        _core.option_set_number([row[0] for row in _core.option_table()].index(name), 1)


def _domains_wanted(domains: str | Iterable[str]) -> frozenset[str]:
    """The set of domains that ``domains`` names for this interpreter."""
    if domains == "auto":
        return frozenset({"raw"}) if _core.is_free_threaded() else _ALL_DOMAINS
    wanted = frozenset([domains] if isinstance(domains, str) else domains)
    if wanted not in (frozenset({"raw"}), _ALL_DOMAINS):
        raise ValueError(f'domains is "auto", {{"raw"}} or {{"raw", "mem", "obj"}}, not {sorted(wanted)}')
    if "obj" in wanted and _core.is_free_threaded():
        raise InstallError(
            "a free-threaded interpreter finds its objects by walking its own allocator: only {'raw'} can be replaced"
        )
    return wanted


def tracemalloc_is_tracing() -> bool:
    """Whether tracemalloc traces now; does not import it."""
    # The built-in half: -X tracemalloc starts it without importing the other, and so does this question.
    from _tracemalloc import is_tracing

    return is_tracing()


def other_hooks() -> tuple[bool, list[str]]:
    """Who stands between CPython and its own allocators: whether its debug hooks do, and the files of other hooks."""
    python, found = _core.domain_allocators()
    ours = {_core.location()}
    files = {file for file, _ in found}
    debugging = any(has_context and file == python for file, has_context in found)
    return debugging, sorted(files - ours - {python})


def _refuse_while_tracemalloc_traces() -> None:
    """Raise :class:`InstallError` when tracemalloc would later undo our hooks."""
    if tracemalloc_is_tracing():
        raise InstallError(
            "tracemalloc is tracing: when it stops it would put the allocators back that it found, and the next free "
            "of an rtmalloc block would crash. Call tracemalloc.stop() first, or install before tracemalloc.start()"
        )


def _refuse_over_other_hooks(force: bool) -> None:
    """Raise :class:`InstallError` when CPython's debug hooks are active or, unless forced, somebody else's."""
    debugging, others = other_hooks()
    if debugging:
        # A block that they grow reaches us through pymalloc and RAW, but the program holds an address behind their
        # header: it lies in a block of ours without being its start, and to free it as such corrupts the heap.
        raise InstallError(
            "CPython's debug hooks are active (PYTHONMALLOC=debug or -X dev), and their headers and rtmalloc exclude "
            "each other: start without them"
        )
    if others and not force:
        raise InstallError(
            f"{', '.join(others)} has hooked Python's allocators: if it takes its hooks away later, the next free of "
            "an rtmalloc block crashes. Install rtmalloc before it, or with force=True when it keeps its hooks for good"
        )


def disable() -> None:
    """Send new requests of Python's domains to the allocators that were there before; ours are still freed correctly.

    Under the preload library the C library's malloc stays rtmalloc's, and what reaches it does too.

    Raises:
        InstallError: when nothing is installed, or there is nothing to go back to.
    """
    if not _core.hooks_active_now():
        raise InstallError("rtmalloc is not installed in this interpreter: there is nothing to disable")
    if not _core.hooks_pause_all(True):
        raise InstallError("there was no allocator before rtmalloc in this process")


def enable() -> None:
    """Undo :func:`disable`; without effect otherwise."""
    _core.hooks_pause_all(False)


def status() -> Status:
    """Whether and how rtmalloc serves this process now; finds out by asking each domain for one small block."""
    bits = _core.domains_arriving(SMALL_BYTES)
    names = frozenset(name for name, bit in DOMAIN_BITS.items() if bits & bit)
    preloaded = _core.is_preloaded()
    installed = bool(names) or bool(_core.hooks_active_now())
    route = "preload" if preloaded else "install" if installed else "none"
    return Status(
        active=preloaded or bool(names),
        route=route,
        domains=names,
        library=_core.location(),
        table=_core.size_classes()[1] or "built in",
        pressure=_pressure_watched(),
        caches=_core.caches_now(),
    )


def _pressure_watched() -> frozenset[str]:
    """The names of the sources of memory pressure that somebody watches for this process now."""
    bits = _core.pressure_watched()
    callbacks = sys.modules.get("rtmalloc.interpreter.pressure")  # imported only by who has callbacks
    if callbacks is not None:
        bits |= callbacks.watched()
    return frozenset(name for bit, name in _core.PRESSURE_NAMES.items() if bits & bit)
